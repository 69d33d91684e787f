"""`flowd replay`: inputs, output lines, exit codes."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.attribution_truth import LOGS, manifests
from tests.support.cli_runner import Result, run_flowd

KEYS = ["input", "time", "request_id", "gateway", "listener", "route", "backend", "attribution",
        "status", "duration_us", "downstream", "upstream", "method", "host", "path"]  # fmt: skip
DEFAULT = LOGS / "eg.http.default.jsonl.gz"


class Replay:
    """The command, run inside the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *args: str) -> Result:
        return run_flowd(self._monkeypatch, self._capfd, "replay", *manifests("eg"), *args)

    def lines(self, *args: str) -> list[dict[str, Any]]:
        result = self(*args)
        assert result.code == 0, result.err
        return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Replay:
    return Replay(monkeypatch, capfd)


def test_the_keys_of_a_line_and_their_order(replay: Replay) -> None:
    line = replay.lines("-o", "json", str(DEFAULT))[0]
    assert list(line) == KEYS
    assert line == {
        "input": str(DEFAULT),
        "time": "2026-11-21T08:14:05.574Z",
        "request_id": "887267ac-7524-49ea-b73a-8e8b33cd8cce",
        "gateway": "infra/public",
        "listener": "http",
        "route": {"kind": "HTTPRoute", "namespace": "shop", "name": "web", "rule": 0, "match": 0},
        "backend": {"namespace": "shop", "name": "web", "port": 8080, "pod": "web-0"},
        "attribution": "name",
        "status": 200,
        "duration_us": 1000,
        "downstream": {"remote": "127.0.30.1:40191", "local": "127.0.20.1:10080"},
        "upstream": {"local": "127.0.20.1:58522", "remote": "127.0.10.1:3000"},
        "method": "GET",
        "host": "www.shop.example",
        "path": "/p/0",
    }


def test_several_files_one_after_another_and_a_summary_on_stderr(replay: Replay) -> None:
    tcp = str(LOGS / "eg.tcp.all.jsonl.gz")
    result = replay(tcp, str(DEFAULT))
    inputs = [json.loads(line)["input"] for line in result.out.splitlines()]
    assert inputs == [tcp] * 40 + [str(DEFAULT)] * 180
    assert result.err == "220 entries of 2 files: listener 4, name 216\n"


def test_standard_input_and_container_runtimes_lines(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gzip.open(DEFAULT, "rb") as file:
        entries = file.read().splitlines()[:3]
    cri = b"".join(b"2026-11-21T08:14:06.1Z stdout F " + entry + b"\n" for entry in entries)
    stdin = io.TextIOWrapper(io.BytesIO(cri))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [line["input"] for line in replay.lines("-")] == ["-"] * 3


def test_a_given_format(replay: Replay, tmp_path: Path) -> None:
    form, log = tmp_path / "format", tmp_path / "log"
    form.write_text(
        "text_format: '%START_TIME(%s)% %REQ(:AUTHORITY)% %REQ(:PATH)% %RESPONSE_CODE%'"
    )
    log.write_text("1795248845 www.shop.example /api/x 200\n")
    (line,) = replay.lines("--access-log-format", str(form), str(log))
    assert line["time"] == "2026-11-21T08:14:05Z"
    assert (line["route"]["name"], line["route"]["rule"], line["attribution"]) == (
        "web",
        1,
        "resolver",
    )


def test_the_flow_log_of_an_agent(replay: Replay, tmp_path: Path) -> None:
    flow = {
        "time": "2026-11-21T08:14:05.600Z",
        "IP": {"source": "127.0.10.1", "destination": "127.0.30.1", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 3000, "destination_port": 40191}},
        "l7": {
            "type": "RESPONSE",
            "latency_ns": "1000000",
            "http": {"code": 200, "method": "GET", "url": "http://www.shop.example/p/0?q=1"},
        },
        "is_reply": True,
    }
    told = {"gateway": "infra/public", "listener": "http", "route": "HTTPRoute/shop/web", "rule": 0,
            "match": 0, "backend": "shop/web:8080", "attribution": "name"}  # fmt: skip
    events = [
        {"flow": {**flow, "extensions": {"@type": "t", "value": told}}, "node_name": "n"},
        {"flow": flow},
        {"lost_events": {"num_events_lost": "1"}},
    ]
    log = tmp_path / "flows.log"
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    recorded, resolved = replay.lines(str(log))
    assert recorded["attribution"] == "name"
    assert resolved["attribution"] == "resolver"
    for line in (recorded, resolved):
        assert line["route"] == {"kind": "HTTPRoute", "namespace": "shop", "name": "web", "rule": 0, "match": 0}  # fmt: skip
        assert line["backend"] == {"namespace": "shop", "name": "web", "port": 8080, "pod": "web-0"}
        assert (line["time"], line["duration_us"]) == ("2026-11-21T08:14:05.599Z", 1000)
        assert line["downstream"] == {"remote": "127.0.30.1:40191", "local": None}
        assert (line["host"], line["path"]) == ("www.shop.example", "/p/0?q=1")


def test_what_is_malformed_is_counted_and_left_out(replay: Replay, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with gzip.open(DEFAULT, "rb") as file:
        log.write_bytes(b"nonsense\n" + file.read().splitlines()[0] + b"\n{\n")
    result = replay(str(log))
    assert result.code == 0
    assert len(result.out.splitlines()) == 1
    assert "malformed: malformed_text 1, malformed_json 1" in result.err


@pytest.mark.parametrize("form", ["auto", "als", "otlp"])
def test_recordings_cut_short(replay: Replay, tmp_path: Path, form: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x00\x00\x00\x05\xff\xff\xff\xff\xff\x00\x00\x01\x00abc")
    result = replay("--input-format", form, str(log))
    assert result.code == 1
    assert "no access-log entry could be read" in result.err
    assert "malformed 1, truncated 1" in result.err


def test_a_length_beyond_reason_is_not_waited_for(replay: Replay, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x7f\xff\xff\xff" + bytes(100))
    result = replay("--input-format", "als", str(log))
    assert (result.code, "message_too_large 1" in result.err) == (1, True)


def test_a_broken_archive_gives_what_it_has(replay: Replay, tmp_path: Path) -> None:
    log = tmp_path / "log.gz"
    log.write_bytes(DEFAULT.read_bytes()[:-1000])
    result = replay(str(log))
    assert result.code == 0
    assert len(result.out.splitlines()) > 10
    assert "truncated 1" in result.err


def test_a_file_that_is_not_there(replay: Replay, tmp_path: Path) -> None:
    result = replay(str(tmp_path / "none"))
    assert (result.code, result.out) == (2, "")
    assert "cannot read" in result.err
