"""Lost access-log entries: the counts of the agent, of Envoy and of the client agree.

Every request has a connection of its own, so that the agent can count connections without an entry
from the kernel's records.
"""

import asyncio
import contextlib
import json
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from flowd.capture.envoy import stats
from flowd.capture.envoy.server import AlsServer
from flowd.capture.preflight import unsupported_reason
from flowd.commands.routes.headers import operators
from flowd.model.losses import Place
from tests.envoy.agent_rows import RunningAgent, running_agent, soon
from tests.envoy.envoy import (
    Envoy,
    Json,
    address,
    als_logger,
    cluster,
    http_filter,
    listener,
    running_envoy,
)
from tests.envoy.pods import NODE, Pods, pods_on_a_node
from tests.kernel.net import Pod, inside, run
from tests.kernel.recorder import eventually

PORT, ADMIN = 8080, 9901
EVERYWHERE = address("0.0.0.0", ADMIN)
BODY = b"here it is"
PAD = "x" * 3000
_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.kernel,
    pytest.mark.skipif(bool(unsupported_reason()), reason=unsupported_reason() or ""),
]


@pytest.fixture
def pods() -> Iterator[Pods]:
    with pods_on_a_node() as made:
        yield made


@pytest.fixture
def page(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of the gateway's Envoy's counters, for an agent that scrapes them often."""
    monkeypatch.setattr(stats, "READ_SECONDS", 0.2)
    return f"http://{pods.gateway.address}:{ADMIN}"


@dataclass
class Load:
    """Clients that send one request for each connection, sequentially, until stopped."""

    pod: Pod
    target: tuple[str, int]
    answered: list[str] = field(default_factory=list[str])
    failed: int = 0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def ask(self, number: str) -> None:
        head = f"GET /{number} HTTP/1.1\r\nhost: a\r\nx-pad: {PAD}\r\nx-request-id: {number}\r\n"
        with self.pod.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
            peer.connect(self.target)
            peer.sendall(f"{head}connection: close\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(BODY):  # Envoy waits for the client's close
                data = peer.recv(4096)
                if not data:
                    raise ConnectionResetError("closed before the answer")
                answer += data
        self.answered.append(number)

    def _work(self, name: str) -> None:
        number = 0
        while not self._stopped.wait(0.002):
            number += 1
            try:
                self.ask(f"{name}-{number}")
            except OSError:
                self.failed += 1
                self._stopped.wait(0.05)

    def stop(self) -> None:
        """Stop; afterwards every request is answered or has failed."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def running(self, clients: int = 2) -> Generator[None]:
        """Run the load inside the block."""
        for client in range(clients):
            thread = threading.Thread(target=self._work, args=(f"client-{client}",))
            self._threads.append(thread)
            thread.start()
        try:
            yield
        finally:
            self.stop()


def gateway_config(host: str, als: int, *more: Json, flush: str = "0.1s") -> Json:
    """An Envoy with direct responses and a small buffer for unsent entries."""
    answer = {"status": 200, "body": {"inline_string": BODY.decode()}}
    route: Json = {"name": "all", "match": {"prefix": "/"}, "direct_response": answer}
    logger = als_logger("Http", "als", "als", "x-pad")
    logger["typed_config"]["common_config"]["buffer_flush_interval"] = flush
    made = cluster("als", (NODE, als), http2=True)
    made["connect_timeout"] = "0.25s"
    (options,) = made["typed_extension_protocol_options"].values()
    window = {"initial_stream_window_size": 65535}
    options["explicit_http_config"]["http2_protocol_options"] = window
    listening = listener("http", http_filter([route], logger, *more), host)
    listening["address"] = address(host, PORT)
    return {
        "node": {"id": "gateway-pod", "cluster": "infra/public"},
        "static_resources": {"listeners": [listening], "clusters": [made]},
    }


def own_counts(pod: Pod, envoy: Envoy) -> tuple[int, int]:
    """Envoy's counters of access-log entries over gRPC: written, and dropped."""
    with (
        inside(pod.namespace),
        urllib.request.urlopen(
            f"http://127.0.0.1:{envoy.admin}/stats?format=json&filter=grpc_access_log", timeout=10
        ) as answer,
    ):
        found = {each["name"]: each["value"] for each in json.loads(answer.read())["stats"]}
    prefix = "access_logs.grpc_access_log.logs"
    return found.get(f"{prefix}_written", 0), found.get(f"{prefix}_dropped", 0)


def received(agent: RunningAgent) -> int:
    return agent.rows.received


def als_server(agent: RunningAgent) -> AlsServer:
    """The access-log service of an agent."""
    server = agent.agent.inputs.requests["envoy-als"]
    assert isinstance(server, AlsServer)
    return server


def accounted(agent: RunningAgent) -> int:
    """Ended connections that count as logged or unlogged, with the time for late entries over."""
    table = agent.agent.pipeline.join.table
    table.expire_and_count(time.time_ns() + 30 * 10**9)
    return table.logged + table.unlogged


async def all_in(agent: RunningAgent, answered: int) -> None:
    """Wait until no stream is open, no entry is in transit, and every connection is counted."""
    server = als_server(agent)
    await soon(lambda: ", streams 0," in server.status()[0].detail)
    await soon(lambda: received(agent) == agent.agent.parts.requests["envoy-als"].received)
    await soon(lambda: accounted(agent) >= answered)


def envoy_metrics(agent: RunningAgent) -> tuple[int, int]:
    """The agent's metrics of Envoy's counters: written, and dropped."""
    counts = agent.agent.inputs.envoy_stats.counts()
    by_fate = {fate: n for (_, source, fate), n in counts.items() if source == "envoy-als"}
    return by_fate.get("written", 0), by_fate.get("dropped", 0)


def by_envoy(dropped: int) -> dict[tuple[Place, str], int]:
    """The losses of dropped entries, as `RunningAgent.lost` has them."""
    return {(Place.ENVOY, "logs_dropped"): dropped} if dropped else {}


def ids(agent: RunningAgent) -> list[str]:
    """Request ids of all received entries."""
    return agent.rows.requests["request_id"].tolist()


async def last_of_all(load: Load, agent: RunningAgent) -> str:
    """Send requests until one entry arrives; earlier entries of Envoy have arrived by then."""
    for number in range(100):
        await asyncio.to_thread(load.ask, f"last-{number}")
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: load.answered[-1] in ids(agent), seconds=2)
            return load.answered[-1]
    raise AssertionError("no entry comes any more")


@contextlib.contextmanager
def cut(pod: Pod, port: int, verdict: str) -> Generator[None]:
    """Drop packets from the pod to a port of the node inside the block."""
    rule = f"type filter hook output priority 0\n tcp dport {port} {verdict}"
    nft = ["ip", "netns", "exec", pod.namespace, "nft"]
    run(*nft, "-f", "-", stdin=f"table inet cut {{\n chain out {{\n {rule}\n }}\n}}\n")
    try:
        yield
    finally:
        run(*nft, "delete", "table", "inet", "cut")


async def test_packets_that_go_nowhere_are_what_envoy_says_it_dropped(
    pods: Pods, tmp_path: Path, page: str
) -> None:
    settings: dict[str, Any] = {"capture": "on", "envoy_stats": (page,)}
    async with running_agent(**settings, als_listen=f"{NODE}:0") as agent:
        config = gateway_config(pods.gateway.address, agent.als)
        netns = pods.gateway.namespace
        with running_envoy(config, tmp_path, netns=netns, admin=EVERYWHERE) as envoy:
            await soon(lambda: agent.agent.inputs.envoy_stats.status()[0].state == "on")
            load = Load(pods.client, (pods.gateway.address, PORT))
            with load.running():
                await soon(lambda: received(agent) > 50)
                with cut(pods.gateway, agent.als, "drop"):
                    await soon(lambda: own_counts(pods.gateway, envoy)[1] > 100)
                healed = received(agent)
                await soon(lambda: received(agent) > healed + 100)
            await soon(lambda: received(agent) == own_counts(pods.gateway, envoy)[0])
            written, dropped = own_counts(pods.gateway, envoy)
            await soon(lambda: envoy_metrics(agent) == (written, dropped))
        await all_in(agent, len(load.answered))
        table = agent.agent.pipeline.join.table
        assert load.failed == 0
        assert table.unlogged == dropped == len(load.answered) - received(agent)
        assert table.logged == written == received(agent)
        assert set(ids(agent)) <= set(load.answered)
        assert agent.lost() == by_envoy(dropped)
        text = generate_latest(agent.agent.outputs.prometheus.registry).decode()
        assert f'flowd_gateway_connections_total{{logged="false"}} {dropped}.0' in text
        assert f'flowd_access_log_entries_total{{source="envoy-als"}} {written}.0' in text
        assert f'flowd_lost_total{{place="envoy",reason="logs_dropped"}} {dropped}.0' in text


async def test_streams_that_are_reset_lose_more_than_envoy_knows(
    pods: Pods, tmp_path: Path
) -> None:
    async with running_agent(capture="on", als_listen=f"{NODE}:0") as agent:
        server = als_server(agent)
        config = gateway_config(pods.gateway.address, agent.als)
        with running_envoy(config, tmp_path, netns=pods.gateway.namespace) as envoy:
            load = Load(pods.client, (pods.gateway.address, PORT))
            with load.running():
                await soon(lambda: received(agent) > 50)
                with cut(pods.gateway, agent.als, "reject with tcp reset"):
                    before = own_counts(pods.gateway, envoy)[0]
                    await soon(lambda: own_counts(pods.gateway, envoy)[0] > before + 100)
                healed = received(agent)
                await soon(lambda: received(agent) > healed + 100)
            written, dropped = own_counts(pods.gateway, envoy)
        await all_in(agent, len(load.answered))
        assert load.failed == 0
        assert written + dropped == len(load.answered)
        assert (
            agent.agent.pipeline.join.table.unlogged
            == len(load.answered) - received(agent)
            > dropped
        )
        assert server.streams_ended > 1
        assert agent.lost() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_envoy_restarted_in_mid_load(
    pods: Pods, tmp_path: Path, page: str, number: signal.Signals
) -> None:
    settings: dict[str, Any] = {"capture": "on", "envoy_stats": (page,)}
    netns = pods.gateway.namespace
    async with running_agent(**settings, als_listen=f"{NODE}:0") as agent:
        config = gateway_config(pods.gateway.address, agent.als, flush="1s")
        load = Load(pods.client, (pods.gateway.address, PORT))
        with contextlib.ExitStack() as stack:
            with running_envoy(config, tmp_path / "1", netns=netns, admin=EVERYWHERE) as envoy:
                stack.enter_context(load.running())
                await soon(lambda: received(agent) > 50 and envoy_metrics(agent)[0] > 50)
                envoy.process.send_signal(number)
                await asyncio.to_thread(envoy.process.wait)
            before = received(agent)
            await soon(lambda: agent.agent.inputs.envoy_stats.status()[0].state == "degraded")
            with running_envoy(config, tmp_path / "2", netns=netns, admin=EVERYWHERE) as envoy:
                await soon(lambda: received(agent) > before + 100)
                await asyncio.to_thread(load.stop)
                written, dropped = own_counts(pods.gateway, envoy)
                await soon(lambda: received(agent) >= before + written)
                await soon(lambda: envoy_metrics(agent) == (written, dropped))
        await all_in(agent, len(load.answered))
        lost = set(load.answered) - set(ids(agent))
        assert load.failed > 0
        assert agent.agent.pipeline.join.table.unlogged == len(lost)
        assert len(set(ids(agent))) == received(agent)


def of_file(agent: RunningAgent, path: Path) -> list[str]:
    """Request ids of the entries of a file."""
    rows = agent.rows.requests
    return rows["request_id"][rows["log_name"] == str(path)].tolist()


async def test_agent_restarted_in_mid_load_loses_nothing_of_a_file(
    pods: Pods, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    form = {"log_format": {"json_format": operators(())}}
    file: Json = {"name": "envoy.access_loggers.file"}
    file["typed_config"] = {"@type": _FILE, "path": str(path)} | form
    settings: dict[str, Any] = {"capture": "on", "access_log": (str(path),)}
    settings |= {"state_dir": str(tmp_path / "state")}
    load = Load(pods.client, (pods.gateway.address, PORT))
    async with running_agent(**settings, als_listen=f"{NODE}:0") as first:
        config = gateway_config(pods.gateway.address, first.als, file)
        with running_envoy(config, tmp_path, netns=pods.gateway.namespace) as envoy, load.running():
            await soon(lambda: received(first) > 100)
            await first.stop()
            away = len(load.answered)
            await soon(lambda: len(load.answered) > away + 100)
            async with running_agent(**settings, als_listen=f"{NODE}:{first.als}") as second:
                await soon(lambda: received(second) > 300)
                await asyncio.to_thread(load.stop)
                by_first = [len(of_file(first, path))]
                await soon(lambda: by_first[0] + len(of_file(second, path)) >= len(load.answered))
                written, dropped = own_counts(pods.gateway, envoy)
    filed = of_file(first, path) + of_file(second, path)
    streamed = Counter(ids(first) + ids(second)) - Counter(filed)
    assert load.failed == 0
    assert sorted(filed) == sorted(load.answered), "each once, over both lives of the agent"
    assert written + dropped == len(load.answered)
    assert set(streamed.values()) == {1}
    assert len(load.answered) - len(streamed) >= 100, "Envoy keeps little for an agent that is away"
    assert (
        first.agent.pipeline.join.table.unlogged == second.agent.pipeline.join.table.unlogged == 0
    )
    assert first.lost() == second.lost() == {}


async def test_agent_restarted_in_mid_load_tells_what_it_missed(
    pods: Pods, tmp_path: Path, page: str
) -> None:
    host, netns = pods.gateway.address, pods.gateway.namespace
    settings: dict[str, Any] = {"capture": "off", "envoy_stats": (page,)}
    load = Load(pods.client, (host, PORT))
    async with running_agent(**settings, als_listen=f"{NODE}:0") as first:
        config = gateway_config(host, first.als)
        running = running_envoy(config, tmp_path, netns=netns, admin=EVERYWHERE)
        with running as envoy, load.running():
            await soon(lambda: received(first) > 100)
            await soon(lambda: envoy_metrics(first)[0] > 100)
            await first.stop()
            away = own_counts(pods.gateway, envoy)
            await soon(lambda: sum(own_counts(pods.gateway, envoy)) > sum(away) + 200)
            async with running_agent(**settings, als_listen=f"{NODE}:{first.als}") as second:
                await soon(lambda: received(second) > 100)
                await asyncio.to_thread(load.stop)
                last = await last_of_all(load, second)
                written, dropped = own_counts(pods.gateway, envoy)
                await soon(lambda: envoy_metrics(second) == (written, dropped))
                text = generate_latest(second.agent.outputs.prometheus.registry).decode()
                [line] = second.agent.inputs.envoy_stats.status()
    entries = Counter(ids(first) + ids(second))
    under_way = written - received(first) - received(second)
    assert load.failed == 0
    assert last in entries
    assert written + dropped == len(load.answered)
    assert set(entries.values()) == {1}
    assert len(set(load.answered) - set(entries)) == under_way + dropped
    assert under_way + dropped > 100
    assert envoy_metrics(first)[0] <= written
    assert {*first.lost(), *second.lost()} <= {*by_envoy(1)}
    labels = f'envoy="{host}:{ADMIN}",fate="written",source="envoy-als"'
    assert f"flowd_envoy_access_logs_total{{{labels}}} {written}.0" in text
    assert (line.part, line.state) == (f"envoy-stats/{host}:{ADMIN}", "on")
    assert line.detail == f"envoy-als {written:,} written, {dropped:,} dropped"
