"""Client calls against a real gRPC server with canned responses, and without a server."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from flowd.client.client import Client
from flowd.client.connection import TlsOptions, server_address
from flowd.client.errors import Unimplemented
from flowd.errors import ConnectError, FlowdError, TimedOut, UsageError
from flowd.wire.flowd.agent_pb2 import Snapshot
from flowd.wire.observer.observer_pb2 import GetFlowsRequest, Namespace, Node
from tests.support import observe_samples as samples
from tests.support.fake_hubble import BAD_PATTERN, FakeHubble

Start = Callable[..., tuple[FakeHubble, str]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[FakeHubble] = []

    def begin(address: str = "127.0.0.1:0", credentials: Any = None, **fake: Any) -> Any:
        hubble = FakeHubble(**fake)
        running.append(hubble)
        return hubble, hubble.start(address, credentials)

    try:
        yield begin
    finally:
        for hubble in running:
            hubble.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_every_call_has_its_answer(start: Start) -> None:
    hubble, address = start()
    hubble.status.num_flows = 7
    hubble.nodes = [Node(name="a")]
    hubble.namespaces = [Namespace(namespace="shop")]
    hubble.agent.version = "9.9"
    hubble.snapshots = [Snapshot(flows=1), Snapshot(flows=2)]
    async with Client(address) as client:
        assert await client.health() == "SERVING"
        assert (await client.server_status()).num_flows == 7
        assert [node.name for node in (await client.nodes()).nodes] == ["a"]
        assert [n.namespace for n in (await client.namespaces()).namespaces] == ["shop"]
        assert (await client.agent_status()).version == "9.9"
        assert len((await client.routes()).routes) == 0
        assert [snapshot.flows async for snapshot in client.watch()] == [1, 2]


async def test_flows_come_in_order_and_follow_goes_on(start: Start) -> None:
    hubble, address = start()
    hubble.flows = samples.ALL
    async with Client(address) as client:
        assert [flow async for flow in client.get_flows(GetFlowsRequest())] == samples.ALL
        stream = client.get_flows(GetFlowsRequest(follow=True))
        got = [await anext(stream) for _ in samples.ALL]
        assert got == samples.ALL
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await client.health() == "SERVING"


async def test_a_plain_hubble_server_lacks_flowds_service(start: Start) -> None:
    _, address = start(with_agent=False)
    async with Client(address) as client:
        with pytest.raises(Unimplemented, match=r"flowd\.v1\.Agent/Status"):
            await client.agent_status()
        with pytest.raises(Unimplemented):
            await anext(client.watch())


async def test_a_bad_filter_is_the_servers_one_line(start: Start) -> None:
    _, address = start()
    request = GetFlowsRequest()
    request.whitelist.add().http_path.append(BAD_PATTERN)
    async with Client(address) as client:
        with pytest.raises(FlowdError) as caught:
            await anext(client.get_flows(request))
    assert caught.value.message == "failed to compile regexp: missing )"
    assert caught.value.code == 1


async def test_nobody_listens() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ConnectError) as caught:
        async with Client(address):
            pass
    assert caught.value.message == f"cannot reach {address} (connection refused)"
    assert "flowd run" in caught.value.hint
    assert caught.value.code == 3


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match=r"\(no such file or directory\)"):
        async with Client(f"unix://{tmp_path}/hubble.sock"):
            pass


async def test_a_server_that_never_answers() -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(TimedOut, match=r"did not answer within 0\.2 s") as caught:
            async with Client(address, timeout=0.2):
                pass
    assert caught.value.code == 5


async def test_a_server_that_goes_away(start: Start) -> None:
    hubble, address = start()
    hubble.flows = [samples.SYN]
    async with Client(address) as client:
        stream: AsyncIterator[Any] = client.get_flows(GetFlowsRequest(follow=True))
        await anext(stream)
        await asyncio.to_thread(hubble.stop)
        with pytest.raises((ConnectError, StopAsyncIteration)):
            await anext(stream)
        with pytest.raises(ConnectError):
            await client.health()


async def test_unix_sockets(start: Start, tmp_path: Path) -> None:
    _, address = start(f"unix://{tmp_path}/hubble.sock")
    async with Client(address) as client:
        assert await client.health() == "SERVING"


async def test_health_of_a_server_that_does_not_serve(start: Start) -> None:
    _, address = start(health="NOT_SERVING")
    async with Client(address) as client:
        assert await client.health() == "NOT_SERVING"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed: cannot make a certificate")
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=flowd", "-addext", "subjectAltName=DNS:node-a.hubble.test"]
    files = ["-keyout", str(key), "-out", str(cert)]
    command = ["openssl", *request.split(), *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def _tls_server(start: Start, certificate: tuple[Path, Path]) -> tuple[FakeHubble, str]:
    cert, key = (path.read_bytes() for path in certificate)
    return start(credentials=grpc.ssl_server_credentials([(key, cert)], cert, True))


async def test_mutual_tls_and_basic_authentication(
    start: Start, certificate: tuple[Path, Path]
) -> None:
    hubble, address = _tls_server(start, certificate)
    cert, key = map(str, certificate)
    tls = TlsOptions((cert,), cert, key, "node-a.hubble.test")
    async with Client(f"tls://{address}", tls=tls, basic_auth=("ann", "s:x")) as client:
        assert await client.health() == "SERVING"
    assert hubble.metadata["authorization"] == "Basic YW5uOnM6eA=="


async def test_a_certificate_that_is_not_trusted(
    start: Start, certificate: tuple[Path, Path]
) -> None:
    _, address = _tls_server(start, certificate)
    with pytest.raises(ConnectError, match="certificate not trusted") as caught:
        async with Client(f"tls://{address}"):
            pass
    assert "--tls-ca-cert-files" in caught.value.hint


async def test_tls_to_a_plain_server(start: Start) -> None:
    _, address = start()
    with pytest.raises(ConnectError, match="TLS handshake failed"):
        async with Client(f"tls://{address}"):
            pass


@pytest.mark.parametrize("server", ["", "http://x", "a b", "x:70000", "x:0", "unix://", "x:y"])
def test_addresses_that_cannot_be_used(server: str) -> None:
    with pytest.raises(UsageError):
        Client(server)


def test_options_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        Client("x", tls=TlsOptions((str(tmp_path / "none"),)))
    with pytest.raises(UsageError, match="together"):
        Client("x", tls=TlsOptions(cert_file="/dev/null"))
    with pytest.raises(UsageError, match="needs TLS"):
        Client("x", basic_auth=("a", "b"))


def test_where_the_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWD_SERVER", raising=False)
    monkeypatch.delenv("HUBBLE_SERVER", raising=False)
    assert server_address() == "127.0.0.1:4245"
    monkeypatch.setenv("HUBBLE_SERVER", "h")
    assert server_address() == "h"
    monkeypatch.setenv("FLOWD_SERVER", "f")
    assert server_address("") == "f"
    assert server_address("flag") == "flag"
