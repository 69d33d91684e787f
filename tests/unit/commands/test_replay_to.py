"""`flowd replay --to` and `--speed`: exporters fed from recordings, and pacing."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flowd.commands.replay.inputs import RecordedEntries
from flowd.commands.replay.pace import LONGEST_NS, paced
from flowd.model.records.request import empty_requests
from tests.support.attribution_truth import LOGS, manifests
from tests.support.cli_runner import run_flowd

# grpc's handler factories are generic without bounds, which strict type checking rejects.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

RECORDED = str(LOGS / "eg.http.default.jsonl.gz")
REQUESTS = 180


def test_a_flow_log_and_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    flows, metrics = tmp_path / "flows.jsonl", tmp_path / "metrics"
    targets = ["--to", f"flow-log={flows}", "--to", f"prometheus={metrics}"]
    result = run_flowd(monkeypatch, capfd, "replay", *manifests("eg"), *targets, RECORDED)
    assert (result.code, result.out) == (0, ""), result.err
    assert f"{REQUESTS} entries of 1 file" in result.err
    lines = [json.loads(line) for line in flows.read_text().splitlines()]
    assert len(lines) == 2 * REQUESTS, "a request and a response flow each"
    assert lines[0]["flow"]["time"].startswith("2026-11-21T08:14:05.57"), "times stay"
    counted = re.findall(
        r"^flowd_route_requests_total{.*} (\d+)", metrics.read_text(), re.MULTILINE
    )
    assert sum(map(int, counted)) == REQUESTS


def test_metrics_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_flowd(
        monkeypatch, capfd, "replay", *manifests("eg"), "--to", "prometheus", RECORDED
    )
    assert result.code == 0
    assert result.out.startswith("# HELP")


@pytest.fixture
def spans() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP receiver: its URL and the received spans."""
    found: list[Any] = []

    def export(raw: bytes, _: Any) -> bytes:
        for group in ExportTraceServiceRequest.FromString(raw).resource_spans:
            for scope in group.scope_spans:
                found.extend(scope.spans)
        return b""

    server = grpc.server(ThreadPoolExecutor(2))
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", found
    finally:
        server.stop(grace=None).wait()


def test_spans(
    spans: tuple[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    url, found = spans
    result = run_flowd(
        monkeypatch, capfd, "replay", *manifests("eg"), "--to", f"otlp={url}", RECORDED
    )
    assert result.code == 0, result.err
    servers = [span for span in found if not span.parent_span_id or span.kind == 2]
    assert len(servers) == REQUESTS


async def test_the_hubble_api_serves_until_interrupted() -> None:
    command = [sys.executable, "-m", "flowd", "replay", *manifests("eg")]
    process = await asyncio.create_subprocess_exec(
        *command, "--to", "hubble=127.0.0.1:0", RECORDED, stderr=subprocess.PIPE
    )
    assert process.stderr
    try:
        serving = (await process.stderr.readline()).decode()
        assert serving.startswith("serving the Hubble API on ")
        assert b"all entries are in" in await process.stderr.readline()
        server = serving.split()[-1]
        observe = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "flowd", "observe", "--server", server, "--all", "-o", "json",
            stdout=subprocess.PIPE,
        )  # fmt: skip
        out, _ = await observe.communicate()
        assert len(out.splitlines()) == 2 * REQUESTS
        os.kill(process.pid, signal.SIGINT)
        assert await process.wait() == 0
        assert f"{REQUESTS} entries" in (await process.stderr.read()).decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    "args",
    [
        ["--to", "nowhere"],
        ["--to", "hubble"],
        ["--to", "flow-log="],
        ["--to", "prometheus", "--to", "prometheus=x"],
        ["--to", "otlp=ftp://127.0.0.1:1"],
        ["--speed", "fast"],
        ["--speed", "-1"],
        ["--speed", "nan"],
    ],
)
def test_what_cannot_be_used_is_one_line(
    args: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    result = run_flowd(monkeypatch, capfd, "replay", *manifests("eg"), *args, RECORDED)
    assert result.code == 2
    assert len(result.err.strip().splitlines()) <= 2


def entries(*seconds: float) -> RecordedEntries:
    batch = empty_requests(len(seconds))
    batch["time_ns"] = (np.array(seconds) * 10**9).astype(np.uint64) + 10**18
    return RecordedEntries(batch)


class Clock:
    """A clock that advances only when it is made to wait."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def played(speed: float, *batches: RecordedEntries) -> list[tuple[float, int]]:
    clock = Clock()
    found: list[tuple[float, int]] = []
    for delay, piece in paced(batches, speed, clock):
        clock.now += delay
        found.append((round(clock.now - 100, 3), len(piece.batch)))
    return found


def test_pace() -> None:
    assert played(1, entries(0, 0, 2), entries(3, 3)) == [(0, 2), (2, 1), (3, 1), (3, 1)]
    assert played(10, entries(0, 1), entries(20)) == [(0, 1), (0.1, 1), (2, 1)]
    assert played(0, entries(0, 1), entries(20)) == [(0, 2), (0, 1)]
    assert played(1, entries(5, 1, 6)) == [(0, 2), (1, 1)], "one that began earlier is due at once"
    day = LONGEST_NS / 1e9
    assert played(1, entries(0), entries(day * 30)) == [(0, 1), (0, 1)], "a clock that jumped"


def test_recorded_routes_stay_with_their_rows() -> None:
    batch = entries(0, 1, 2)
    batch.recorded[1] = {"route": "a"}
    pieces = [piece for _, piece in paced([batch], 1, Clock())]
    assert [piece.recorded for piece in pieces] == [{}, {0: {"route": "a"}}, {}]
