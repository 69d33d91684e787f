"""Envoy's own counters of access-log entries: valid and broken pages, restarts, and the status."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from flowd.agent import Agent
from flowd.capture.envoy import stats as stats_module
from flowd.capture.envoy.stats import FATES, EnvoyStats, Scrape, parse, read
from flowd.errors import ConnectError, UsageError
from flowd.model.losses import Losses, Place
from flowd.model.status import State
from flowd.settings import Settings
from tests.kernel.recorder import eventually

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\n"
GRPC = "envoy_access_logs_grpc_access_log_logs_"
OTLP = "envoy_access_logs_open_telemetry_access_log_"


def page(written: int, dropped: int, uptime: int = 60) -> bytes:
    """An HTTP answer as Envoy sends it."""
    text = f"# TYPE {GRPC}dropped counter\n{GRPC}dropped{{}} {dropped}\n"
    text += f"# TYPE {GRPC}written counter\n{GRPC}written{{}} {written}\n"
    text += f"# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{{}} {uptime}\n\n"
    return HEAD + f"Content-Length: {len(text)}\r\n\r\n{text}".encode()


@dataclass
class Server:
    """Sends one answer to each client, then closes; `held` keeps the connection open."""

    answer: bytes = b""
    held: bool = False
    port: int = 0
    asked: str = ""
    times: int = 0
    handlers: list[asyncio.Task[None]] = field(default_factory=list["asyncio.Task[None]"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.append(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.asked = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.times += 1
            writer.write(self.answer)
            await writer.drain()
            if self.held:
                await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(answer: bytes = b"", held: bool = False) -> AsyncGenerator[Server]:
    made = Server(answer, held)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=1 << 20)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*made.handlers)


@contextlib.asynccontextmanager
async def reading(stats: EnvoyStats) -> AsyncGenerator[list[tuple[str, str]]]:
    """A running EnvoyStats; permanent failures are in the list."""
    failed: list[tuple[str, str]] = []
    task = asyncio.create_task(stats.run(lambda part, why: failed.append((part, why))))
    try:
        yield failed
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_counters_are_summed_over_labels_and_loggers_told_apart() -> None:
    text = f"""# TYPE envoy_cluster_upstream counter
envoy_cluster_upstream{{a="b"}} nonsense
{GRPC}written{{pod="a"}} 3
{GRPC}written{{pod="b"}} 4
{GRPC}dropped{{}} 0
{OTLP}logs_written{{}} 9
{OTLP}mine_logs_dropped{{}} 2
{OTLP}grpc_entries_flushed{{}} 8
envoy_server_uptime{{}} 61
"""
    counts = {("envoy-als", "written"): 7, ("envoy-als", "dropped"): 0}
    counts |= {("otlp-logs", "written"): 9, ("otlp-logs", "dropped"): 2}
    assert parse(text.encode()) == Scrape(counts, 61)
    assert parse(b"") == parse(b"<html>\n\xff\x00") == Scrape({}, 0)


@pytest.mark.parametrize(
    "line",
    [
        'written{a="b 3',
        "written{} x",
        "written{} NaN",
        "written{} +Inf",
        "written{} -1",
        "written{} 1e300",
        "written{} ",
        "written{} 1 \xff2",
    ],
)
def test_lines_that_are_no_counts_are_refused(line: str) -> None:
    with pytest.raises(ConnectError, match="no Prometheus text"):
        parse((GRPC + line).encode("latin-1"))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_counts_or_refused(more: bytes, other: bytes) -> None:
    with contextlib.suppress(ConnectError):
        counts = parse(GRPC.encode() + b"written" + more + b"\nenvoy_server_uptime{" + other)[0]
        assert all(count >= 0 for count in counts.values())


ENDLESS = HEAD + b"\r\n" + b"# filler\n" * (stats_module.MAX_BYTES // 9 + 1)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", "HTTP status 302"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>", "no plain text"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b", "no plain text"),
        (HEAD + b"Content-Length: 100\r\n\r\nenvoy_", "without sending complete message body"),
        (b"SSH-2.0-Server\r\n\r\n", "illegal"),
        (b"", "without sending a response"),
        (ENDLESS, "an answer over 4 MiB"),
    ],
    ids=["redirect", "missing", "html", "gzip", "cut", "ssh", "closed", "endless"],
)
async def test_answers_that_are_no_page(answer: bytes, why: str) -> None:
    async with serving(answer) as server, httpx2.AsyncClient(verify=False) as client:
        with pytest.raises(ConnectError, match=why):
            await read(client, server.url)
        assert server.times == 1


@pytest.mark.parametrize("answer", [b"", HEAD, page(1, 0)[:-9]], ids=["silent", "head", "part"])
async def test_a_page_that_never_ends(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_module, "ANSWER_SECONDS", 0.2)
    async with serving(answer, held=True) as server, httpx2.AsyncClient(verify=False) as client:
        with pytest.raises(ConnectError, match="no whole answer"):
            await read(client, server.url)


async def test_drops_are_added_up_over_restarts_and_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stats_module, "READ_SECONDS", 0.01)
    losses = Losses()
    async with serving(page(100, 5)) as server:
        stats = EnvoyStats([server.url], losses)
        name = f"127.0.0.1:{server.port}"
        assert [(one.part, one.state) for one in stats.status()] == [
            (f"envoy-stats/{name}", State.OFF)
        ]

        def counts() -> tuple[int, int]:
            found = stats.counts()
            written, dropped = (found.get((name, "envoy-als", fate), 0) for fate in FATES)
            return written, dropped

        async with reading(stats) as failed:
            await eventually(lambda: counts() == (100, 5))
            [status] = stats.status()
            assert status.state is State.ON
            assert status.detail == "envoy-als 100 written, 5 dropped"
            assert server.asked.startswith(f"GET /stats/prometheus?{stats_module.QUERY} HTTP/1.1")
            server.answer = page(40, 1)  # a counter decreased
            await eventually(lambda: counts() == (40, 1))
            server.answer = page(300, 9, uptime=5)  # only the uptime decreased
            await eventually(lambda: counts() == (300, 9))
            server.answer = (
                HEAD + b"Content-Length: 0\r\n\r\n"
            )  # another restart, without entries so far
            asked = server.times
            await eventually(lambda: server.times > asked + 2)
            assert counts() == (0, 0)
            server.answer = page(8, 2)
            await eventually(lambda: counts() == (8, 2))
            server.answer = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
            await eventually(lambda: stats.status()[0].state is State.DEGRADED)
            assert stats.status()[0].detail == (
                "HTTP status 503: give Envoy's own /stats/prometheus in `envoy_stats`;"
                " envoy-als 8 written, 2 dropped"
            )
            server.answer = page(9, 4)
            await eventually(lambda: counts() == (9, 4))
            assert stats.status()[0].state is State.ON
            assert failed == []
    assert losses.snapshot() == {(Place.ENVOY, "logs_dropped"): 1 + 9 + 4}


async def test_an_envoy_that_is_not_there_leaves_the_others() -> None:
    async with serving() as gone:
        pass
    async with serving(page(3, 2)) as server:
        stats = EnvoyStats([server.url, f"http://127.0.0.1:{gone.port}/x?y=z"], Losses())
        assert [one.detail for one in stats.status()] == ["not read yet"] * 2
        async with reading(stats):
            await eventually(lambda: all(one.state is not State.OFF for one in stats.status()))
            good, bad = stats.status()
    assert good.state is State.ON
    assert bad.state is State.DEGRADED
    assert bad.detail.endswith(": check `envoy_stats`, and that Envoy runs")
    assert "refused" in bad.detail.lower() or "connect" in bad.detail.lower()


@pytest.mark.parametrize(
    "urls",
    [
        ("127.0.0.1:9901",),
        ("ftp://a/",),
        ("http://",),
        ("http://a:99999/",),
        ("http://[::1/",),
        ("http://me:secret@a/",),
        ("http://a/ b",),
        ("http://a\x1b[1m/",),
        ("http://a/x", "http://a:80/y"),
    ],
    ids=repr,
)
def test_urls_that_cannot_be_used(urls: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refused:
        EnvoyStats(urls, Losses())
    assert "secret" not in str(refused.value)
    assert str(refused.value).isprintable()


def test_the_agent_shows_nothing_of_it_unless_asked() -> None:
    quiet: dict[str, object] = {"capture": "off", "als_listen": ""}
    quiet |= {"hubble_listen": "", "metrics_listen": ""}
    agent = Agent(msgspec.convert(quiet | {"envoy_stats": ["http://127.0.0.1:1"]}, Settings))
    assert "envoy-stats/127.0.0.1:1" in {part.part for part in agent.status()}
    text = generate_latest(agent.outputs.prometheus.registry).decode()
    assert 'flowd_lost_total{place="envoy",reason="logs_dropped"} 0.0' in text
    agent = Agent(msgspec.convert(quiet, Settings))
    assert not [part for part in agent.status() if part.part.startswith("envoy-stats")]
    assert 'place="envoy"' not in generate_latest(agent.outputs.prometheus.registry).decode()
