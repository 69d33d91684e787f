"""Connections to an API server: by proxy, under another server name, with a private CA."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowd.errors import UsageError
from flowd.kubernetes.api.http_proxy import proxy_for
from flowd.kubernetes.api.kubeconfig import KubeconfigSource
from flowd.model.status import State
from tests.fakes.kube_api import PODS, FakeKubeApi, pod, until
from tests.support.kube_client import FAST, following, write_kubeconfig

CALM = replace(FAST, discovery_interval=60.0)
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Self-signed certificate for a DNS name, with its key."""
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    words = "req -x509 -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(["openssl", *words.split(), *names, *files], check=True, capture_output=True)
    return paths


@asynccontextmanager
async def proxy(asked: list[str]) -> AsyncGenerator[str]:
    """HTTP proxy with tunnels to 127.0.0.1 for every requested host."""
    tunnels: set[asyncio.Task[None]] = set()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()
            with suppress(OSError):
                await sink.wait_closed()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = head.split()[1]
        asked.append(f"{head.split()[0]} {target}")
        there = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for pair in ((reader, there[1]), (there[0], writer)):
            tunnels.add(asyncio.create_task(copy(*pair)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tunnels:
            task.cancel()
        await asyncio.gather(*tunnels, return_exceptions=True)


async def test_proxy_server_name_and_client_certificate(tmp_path: Path):
    api = FakeKubeApi()
    api.put(PODS, pod("p", "10.0.0.1"))
    authority, key = certificate(tmp_path, "api.internal")
    mine, my_key = certificate(tmp_path, "robot")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    context.load_verify_locations(mine)
    context.verify_mode = ssl.CERT_REQUIRED
    asked: list[str] = []
    user: dict[str, Any] = {"client-certificate": "robot.crt", "client-key": str(my_key)}
    async with proxy(asked) as url, api.running(tls=context):
        cluster = {
            "certificate-authority": "api.internal.crt",
            "tls-server-name": "api.internal",
            "proxy-url": url,
        }
        async with following(api, tmp_path, CALM, cluster=cluster, **user) as client:
            await until(lambda: client.cluster.status().state == State.ON)
            assert client.names() == {"p"}
            await until(lambda: all(map(api.watchers, api.objects)))
    assert set(asked) == {f"CONNECT {api.url.removeprefix('https://')}"}


async def test_another_name_than_the_certificates_is_refused_until_it_is_corrected(tmp_path: Path):
    api = FakeKubeApi()
    authority, key = certificate(tmp_path, "api.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    async with api.running(tls=context):
        cluster = {"certificate-authority": "api.internal.crt", "tls-server-name": "other.internal"}
        async with following(api, tmp_path, CALM, cluster=cluster) as client:
            await client.cluster.synced.wait()
            assert "the API server's certificate is not trusted" in client.cluster.status().detail
            cluster["tls-server-name"] = "api.internal"
            write_kubeconfig(tmp_path / "kubeconfig", api.url, {}, **cluster)
            await until(lambda: client.cluster.status().state == State.ON)
            # httpx2 leaves a socket to the garbage collector when a handshake is cancelled.
            await until(lambda: all(map(api.watchers, api.objects)))


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("server", "wanted"),
    [
        ("https://api.example:6443", "http://proxy.example:3128"),
        ("http://api.example", ""),
        ("https://api.corp.example", ""),
        ("https://corp.example", ""),
        ("https://notcorp.example", "http://proxy.example:3128"),
        ("https://10.1.2.3:6443", ""),
        ("https://11.1.2.3:6443", "http://proxy.example:3128"),
        ("https://127.0.0.1:6443", ""),
        ("https://[::1]:6443", ""),
        ("https://localhost:6443", ""),
    ],
)
def test_proxies_of_the_environment(clean: pytest.MonkeyPatch, server: str, wanted: str):
    clean.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    clean.setenv("NO_PROXY", "corp.example, 10.0.0.0/8")
    assert proxy_for(server) == wanted
    assert proxy_for(server, "https://given.example") == "https://given.example"
    clean.setenv("NO_PROXY", "*")
    assert proxy_for(server) == ""


@pytest.mark.usefixtures("clean")
def test_a_proxy_that_speaks_something_else_is_refused(tmp_path: Path):
    way = {"proxy-url": "socks5://127.0.0.1:1080"}
    path = write_kubeconfig(tmp_path / "kubeconfig", "https://api.example", {}, **way)
    with pytest.raises(UsageError, match="not one that speaks HTTP"):
        KubeconfigSource(str(path)).connection()
