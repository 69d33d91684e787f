"""`flowd observe` as a command, against a fake server over real gRPC."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Struct

from flowd.observe.options.request import PRINTED_FIELDS
from tests.support import observe_samples as samples
from tests.support.cli_runner import Result, run_flowd
from tests.support.fake_hubble import BAD_PATTERN, FakeHubble

GOLDEN = Path(__file__).parents[2] / "golden" / "observe"
FLOWD = [sys.executable, "-m", "flowd"]


@pytest.fixture
def hubble(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHubble]:
    fake = FakeHubble()
    fake.flows = list(samples.ALL)
    try:
        monkeypatch.setenv("FLOWD_SERVER", fake.start())
        yield fake
    finally:
        fake.stop()


@pytest.fixture
def observe(
    hubble: FakeHubble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    return lambda *args: run_flowd(monkeypatch, capsys, "observe", *args)


def test_compact_by_default(observe: Callable[..., Result], hubble: FakeHubble) -> None:
    assert observe() == (0, (GOLDEN / "compact.txt").read_text(), "")
    request = hubble.requests[-1]
    assert request.number == 20
    assert list(request.field_mask.paths) == list(PRINTED_FIELDS)


def test_json_asks_for_everything(observe: Callable[..., Result], hubble: FakeHubble) -> None:
    code, out, _ = observe("-o", "JSON", "--all")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == len(samples.ALL)
    assert lines[3]["flow"]["extensions"]["value"]["route"] == "HTTPRoute/pay/ledger"
    assert not hubble.requests[-1].HasField("field_mask")


def test_masks_can_be_set_and_dropped(observe: Callable[..., Result], hubble: FakeHubble) -> None:
    assert observe("-o", "json", "--field-mask", "time,source.pod_name").code == 0
    assert list(hubble.requests[-1].field_mask.paths) == ["time", "source.pod_name"]
    assert observe("--use-default-field-masks=false").code == 0
    assert not hubble.requests[-1].HasField("field_mask")
    assert observe("--print-policy-names").code == 0
    assert "ingress_denied_by" in hubble.requests[-1].field_mask.paths
    refused = observe("--field-mask", "time")
    assert (refused.code, refused.out) == (2, "")


def test_filters_and_routes_reach_the_server(
    observe: Callable[..., Result], hubble: FakeHubble
) -> None:
    line = "-n orders --protocol http --not --to-port 53 --route shop/web --listener https"
    assert observe(*line.split(), "--attribution", "resolver", "--gateway", "a/b").code == 0
    request = hubble.requests[-1]
    assert [list(f.source_pod) for f in request.whitelist] == [["orders/"], []]
    assert [list(f.destination_port) for f in request.blacklist] == [["53"]]
    struct = Struct()
    assert request.extensions.Unpack(struct)
    assert {key: list(value.list_value) for key, value in struct.fields.items()} == {
        "route": ["shop/web"],
        "listener": ["https"],
        "attribution": ["resolver"],
        "gateway": ["a/b"],
    }


def test_raw_filters_from_flags_and_environment(
    observe: Callable[..., Result], hubble: FakeHubble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBBLE_DENYLIST", '{"reply": [true]} {"source_port": ["53"]}')
    assert observe("--allowlist", '{"verdict":["DROPPED"]}', "--to-port", "80").code == 0
    request = hubble.requests[-1]
    assert len(request.whitelist) == 2
    assert list(request.blacklist[0].reply) == [True]
    assert list(request.blacklist[1].source_port) == ["53"]


def test_raw_filters_are_printed_and_nothing_is_asked(
    observe: Callable[..., Result], hubble: FakeHubble
) -> None:
    printed = observe("--print-raw-filters", "-n", "orders", "--http-path", "/v1/.*'")
    assert (printed.code, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "allowlist:",
        """    - '{"source_pod":["orders/"],"http_path":["/v1/.*''"]}'""",
        """    - '{"destination_pod":["orders/"],"http_path":["/v1/.*''"]}'""",
    ]
    assert observe("--print-raw-filters").out == "{}\n"
    assert observe("--print-raw-filters", "--not", "-4").out.startswith("denylist:\n    - '{")
    assert not hubble.requests


def test_a_bad_filter_is_one_line(observe: Callable[..., Result]) -> None:
    assert observe("--http-path", BAD_PATTERN) == (
        1,
        "",
        "flowd: error: failed to compile regexp: missing )\n",
    )


@pytest.mark.parametrize(
    "args",
    [
        ("-o", "table", "-f"),
        ("--first", "1", "--last", "1"),
        ("-o", "yaml"),
        ("--since", "soon"),
        ("--verdict", "dropped"),
        ("--allowlist", "{"),
        ("--last", "-1"),
        ("--nope",),
        ("agent-events", "-n", "shop"),
        ("debug-events", "--route", "a/b"),
        ("agent-events", "--input-file", "x"),
        ("--input-file", "/nowhere/x"),
        ("--server", "http://x"),
        ("--basic-auth-username", "ann"),
        ("--tls", "--tls-ca-cert-files", "/nowhere/ca.pem"),
    ],
)
def test_usage_errors_ask_nothing(
    observe: Callable[..., Result], hubble: FakeHubble, args: tuple[str, ...]
) -> None:
    result = observe(*args)
    assert (result.code, result.out) == (2, "")
    assert result.err
    assert not hubble.requests


def test_nobody_there(observe: Callable[..., Result], hubble: FakeHubble) -> None:
    hubble.stop()
    code, out, err = observe()
    assert (code, out) == (3, "")
    assert re.match(
        r"flowd: error: cannot reach 127\.0\.0\.1:\d+ \(connection refused\)\nhint: ", err
    )


def test_nodes_are_told_on_stderr(observe: Callable[..., Result], hubble: FakeHubble) -> None:
    hubble.flows = [
        samples.node_status("NODE_CONNECTED", "a"),
        samples.node_status("NODE_UNAVAILABLE", "b"),
    ]
    told = observe()
    assert (told.code, told.out) == (0, "")
    assert told.err == "Nov 21 09:15:01.000 [relay-0]: 1 nodes are unavailable: b\n"
    assert observe("-D").err.count("[relay-0]: ") == 2
    assert observe("-s").err == ""
    as_json = observe("-o", "json").err.splitlines()
    assert json.loads(as_json[1])["node_status"]["state_change"] == "NODE_UNAVAILABLE"


def test_colours_only_when_wanted(
    observe: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[" not in observe().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" in observe("--color", "always").out


def test_following_ends_with_a_count(observe: Callable[..., Result], hubble: FakeHubble) -> None:
    hubble.flows *= 200
    process = subprocess.Popen(
        [*FLOWD, "observe", "-f"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    )
    try:
        assert hubble.waiting.wait(30)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert re.fullmatch(rb"\n?[\d,]+ flows, [\d,]+ lost\n", err)


@pytest.mark.parametrize("how", ["--all", "-f"])
def test_a_reader_that_goes_away_is_the_end(hubble: FakeHubble, how: str) -> None:
    hubble.flows *= 2000
    process = subprocess.Popen(
        [*FLOWD, "observe", how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
    )
    try:
        assert process.stdout
        assert process.stdout.readline().startswith(b"Nov 21")
        process.stdout.close()
        assert process.stderr
        err = process.stderr.read()
        process.stderr.close()
        assert (process.wait(30), err) == (0, b"")
    finally:
        process.kill()
        process.wait()


def test_a_stream_that_breaks_tells_what_came(
    observe: Callable[..., Result], hubble: FakeHubble
) -> None:
    hubble.breaks = True
    code, out, err = observe("-f")
    assert code == 3
    assert len(out.splitlines()) == len(samples.ALL)
    count, error, *_ = err.splitlines()
    assert count == "10 flows, 17 lost"
    assert error.startswith("flowd: error: cannot reach ")


def test_help_is_grouped_and_begins_with_examples() -> None:
    done = subprocess.run([*FLOWD, "observe", "--help"], capture_output=True, check=True, text=True)
    headings = re.findall(r"^(\w[\w ]*):$", done.stdout, re.MULTILINE)
    assert headings == [
        "Which flows",
        "Who",
        "What happened",
        "Which route",
        "Any other filter",
        "Output",
        "Server",
        "Other",
    ]
    assert done.stdout.index("flowd observe -f --route") < done.stdout.index("Which flows")
    assert "--[from-|to-]pod" in done.stdout
    assert "--from-pod" not in done.stdout
