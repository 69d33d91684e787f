"""`flowd observe` with several servers, and its messages about servers."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowd.client.connection import is_newer_api
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from tests.support import observe_samples as samples
from tests.support.cli_runner import Result, run_flowd
from tests.support.fake_hubble import BAD_PATTERN, FakeHubble

Observe = Callable[..., Result]
EVEN, ODD = samples.ALL[::2], samples.ALL[1::2]


@pytest.fixture
def servers() -> Iterator[list[tuple[FakeHubble, str]]]:
    fakes = [FakeHubble(), FakeHubble()]
    try:
        started = [(fake, fake.start()) for fake in fakes]
        for fake, flows in zip(fakes, (EVEN, ODD), strict=True):
            fake.flows = list(flows)
        yield started
    finally:
        for fake in fakes:
            fake.stop()


@pytest.fixture
def observe(
    servers: list[tuple[FakeHubble, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Observe:
    flags = [flag for _, address in servers for flag in ("--server", address)]
    return lambda *args: run_flowd(monkeypatch, capsys, "observe", *flags, *args)


def lines(flows: list[GetFlowsResponse]) -> list[str]:
    return [flow_to_json(flow) for flow in flows]


def test_flows_are_merged_by_time(observe: Observe) -> None:
    code, out, err = observe("-o", "json", "--all")
    assert (code, err) == (0, "")
    assert out.splitlines() == lines(samples.ALL)


@pytest.mark.parametrize(
    ("flag", "expected"), [("--first", samples.ALL[:3]), ("--last", samples.ALL[-4:])]
)
def test_counts_are_of_all_servers_together(
    observe: Observe, flag: str, expected: list[GetFlowsResponse]
) -> None:
    assert observe("-o", "json", flag, "3").out.splitlines() == lines(expected)


def test_a_server_that_is_away_is_told_and_left_out(
    observe: Observe, servers: list[tuple[FakeHubble, str]]
) -> None:
    servers[0][0].stop()
    code, out, err = observe("-o", "json", "--all")
    assert code == 0
    assert out.splitlines() == lines(ODD)
    assert err.startswith(f"flowd: cannot reach {servers[0][1]} (")
    assert err.count("\n") == 1
    assert observe("-s").err == ""


@pytest.mark.parametrize("follow", [(), ("-f",)])
def test_no_server_at_all_is_a_failure(
    observe: Observe, servers: list[tuple[FakeHubble, str]], follow: tuple[str, ...]
) -> None:
    for fake, _ in servers:
        fake.stop()
    code, out, err = observe(*follow)
    assert (code, out) == (3, "")
    assert "flowd: error: cannot reach" in err


def test_a_refused_request_ends_it(observe: Observe) -> None:
    code, _, err = observe("-f", "--http-path", BAD_PATTERN)
    assert code == 1
    assert "flowd: error: failed to compile regexp" in err


def test_a_lost_server_is_tried_again_from_where_it_stopped(
    servers: list[tuple[FakeHubble, str]], tmp_path: Path
) -> None:
    (_, first), (second, address) = servers
    log = tmp_path / "err"
    again = FakeHubble()
    again.flows = [samples.ETHERNET]
    flags = ["--server", first, "--server", address]
    command = [sys.executable, "-m", "flowd", "observe", "-f", "-o", "json", *flags]
    with log.open("wb") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, env=os.environ)
    try:
        assert process.stdout
        seen = [process.stdout.readline() for _ in samples.ALL]
        assert sorted(seen) == sorted(line.encode() + b"\n" for line in lines(samples.ALL))
        second.stop()
        wait_for(log, b"trying again every 2 s")
        again.start(address)
        assert process.stdout.readline().decode() == flow_to_json(samples.ETHERNET) + "\n"
        wait_for(log, f"{address}: connected again".encode())
        since = again.requests[-1].since.ToNanoseconds()
        assert since == ODD[-1].flow.time.ToNanoseconds() + 1
        assert again.requests[-1].number == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
        again.stop()


def wait_for(log: Path, text: bytes) -> None:
    deadline = time.monotonic() + 30
    while text not in log.read_bytes():
        assert time.monotonic() < deadline, log.read_bytes()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("version", "newer"),
    [("1.19.4", False), ("v1.19", False), ("1.20.0-rc1", True), ("2.0", True), ("x", False)],
)
def test_versions(version: str, newer: bool) -> None:
    assert is_newer_api(version) is newer


def test_a_newer_server_is_told(observe: Observe, servers: list[tuple[FakeHubble, str]]) -> None:
    servers[1][0].version = "1.21.0"
    _, out, err = observe("--all")
    assert len(out.splitlines()) == len(samples.ALL)
    assert re.fullmatch(rf"flowd: warning: {servers[1][1]} speaks Hubble 1\.21\.0, .*\n", err)
    assert observe("-s").err == ""
