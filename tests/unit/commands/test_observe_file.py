"""`flowd observe --input-file`: reading of files, and handling of unreadable lines."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowd.observe.sources import input_file
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from flowd_exporters.hubble.encode.json_line import FlowJson
from tests.support import observe_samples as samples
from tests.support.cli_runner import Result, run_flowd
from tests.support.flow_samples import cluster, sample_rows

GOLDEN = Path(__file__).parents[2] / "golden" / "observe"
Observe = Callable[..., Result]


def line_of(response: GetFlowsResponse) -> str:
    return flow_to_json(response) + "\n"


@pytest.fixture
def observe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Observe:
    monkeypatch.setenv("FLOWD_SERVER", "127.0.0.1:1")
    return lambda *args: run_flowd(monkeypatch, capsys, "observe", "--input-file", *args)


@pytest.fixture
def events(tmp_path: Path) -> str:
    path = tmp_path / "events.log"
    path.write_text("".join(map(line_of, samples.ALL)))
    return str(path)


def test_a_file_prints_as_a_server_would(observe: Observe, events: str) -> None:
    assert observe(events) == (0, (GOLDEN / "compact.txt").read_text(), "")
    assert observe(events, "-o", "json").out == Path(events).read_text()


def test_our_own_lines_and_flow_logs_are_read_back(observe: Observe, tmp_path: Path) -> None:
    path = tmp_path / "flows.log"
    lines = list(FlowJson(cluster()).events(sample_rows()))
    path.write_text("\n".join(lines))
    again = observe(str(path), "-o", "json")
    assert again.out.splitlines() == lines
    path.write_text(again.out)
    assert observe(str(path), "-o", "json") == again


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--verdict", "DROPPED"), ["DENIED", "VERDICT"]),
        (("--first", "2"), ["SYN", "SYN_ACK"]),
        (("--last", "2"), ["ETHERNET", "LOST"]),
        (("--last", "1", "--protocol", "dns"), ["DNS"]),
        (("--all", "--to-pod", "kube-system/"), ["DNS"]),
        (("--since", "2026-11-21T09:15:00.010Z"), ["IPV6", "ETHERNET", "LOST"]),
        (("--until", "2026-11-21T09:15:00.001Z"), ["SYN", "SYN_ACK"]),
        (("--route", "pay/ledger", "-f"), ["HTTP"]),
        (("--not", "--to-port", "8443", "--first", "3"), ["SYN_ACK", "DNS", "HTTP"]),
        (("--fqdn", "*.example.net"), ["FQDN"]),
        (("--type", "policy-verdict"), ["VERDICT"]),
    ],
)
def test_selection_and_filters(
    observe: Observe, events: str, args: tuple[str, ...], expected: list[str]
) -> None:
    printed = observe(events, "-o", "json", *args)
    assert (printed.code, printed.err) == (0, "")
    wanted = [line_of(getattr(samples, name)) for name in expected]
    assert printed.out.splitlines(keepends=True) == wanted


def test_gzip_and_standard_input(
    observe: Observe, events: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = observe(events)
    packed = tmp_path / "events"
    packed.write_bytes(gzip.compress(Path(events).read_bytes()))
    assert observe(str(packed)) == plain
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(packed.read_bytes())))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert observe("-") == plain
    packed.write_bytes(packed.read_bytes()[:-20])
    broken = observe(str(packed))
    assert (broken.code, "cannot be read further" in broken.err) == (1, True)
    assert broken.out


def test_unknown_fields_are_told_once(observe: Observe, tmp_path: Path) -> None:
    path = tmp_path / "new.log"
    document = json.loads(line_of(samples.SYN))
    document["flow"]["colour"] = "red"
    document["flow"]["verdict"] = "PONDERED"
    path.write_text(f"{json.dumps(document)}\n" * 3)
    printed = observe(str(path))
    assert len(printed.out.splitlines()) == 3
    assert printed.err.count("\n") == 1
    assert f"flowd: {path}: unknown fields are left out" in printed.err
    assert observe(str(path), "-s").err == ""


def test_what_does_not_parse_is_told_and_skipped(
    observe: Observe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_file, "MAX_LINE", 4096)
    path = tmp_path / "bad.log"
    bad = [
        "\x1b[31mno json",
        "[1]",
        "[" * 3000,
        "{}",
        '{"level":"info"}',
        '{"flow":{"time":"yesterday"}}',
        '{"flow":{"IP":7}}',
        '{"flow":{"Summary":"\\ud800"}}',
        '"' + "x" * 9000 + '"',
    ]
    good = line_of(samples.SYN)
    event = '{"agent_event":{"type":"AGENT_STARTED"},"time":"2026-11-21T09:15:00Z"}\n'
    text = "\n\n".join(bad) + "\n" + event + good
    path.write_bytes(text.encode() + b'{"flow":{"uuid":"\xff"}}\n' + good.encode())
    printed = observe(str(path), "-o", "json")
    assert (printed.code, printed.out) == (0, good * 2)
    told = printed.err.splitlines()
    assert len(told) == len(bad) + 1
    assert told[0].startswith(f"flowd: {path}:1: skipped: ")
    assert "\x1b" not in printed.err
    path.write_text("x\n" * 500)
    told = observe(str(path)).err.splitlines()
    assert len(told) == 11
    assert told[-1] == f"flowd: {path}: 500 lines skipped in all"


def test_bad_filters_and_counts(observe: Observe, events: str) -> None:
    assert observe(events, "--protocol", "zzz").code == 2
    assert observe(events, "--cel-expression", "true").code == 0
    assert observe(events, "--cel-expression", "1 +").code == 2
    assert observe(events, "--cel-expression", "_flow.nope").code == 2
    assert observe(events, "--cel-expression", "false").out == observe(events, "--uuid", "x").out
    assert observe(events, "--last", "1000001").code == 2
