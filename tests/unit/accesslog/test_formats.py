"""Values of access-log lines in well-known and in configured formats."""

import json
from pathlib import Path

import pytest

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.snippet import load_formats
from flowd.accesslog.textformat import ENVOY, TextFormat
from flowd.errors import UsageError
from flowd.model.address import unpack
from flowd.model.enums import RESPONSE_FLAGS, EntryKind, HttpVersion
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch

ENVOY_LINE = (
    '[2026-11-21T08:14:22.698Z] "GET /p/0?q=1 HTTP/1.1" 503 UF,URX 3 82 12 7 "10.0.0.9" '
    '"curl/8 "beta"" "ca038747" "www.shop.example" "[2001:db8::1]:3000"'
)


def parsed(*lines: str, losses: Losses | None = None, formats: str = "") -> RequestBatch:
    path = Path(formats) if formats else None
    parser = LineParser(losses or Losses(), load_formats(path) if path else [])
    for line in lines:
        parser.add(line.encode())
    return parser.take()


def lost(losses: Losses) -> dict[str, int]:
    return {reason: n for (place, reason), n in losses.snapshot().items() if place == "access_log"}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "format.yaml"
    path.write_text(text)
    return str(path)


def test_envoys_default_text() -> None:
    (row,) = parsed(ENVOY_LINE)
    assert row["time_ns"] == 1795248862698 * 10**6
    assert (row["method"], row["path"], row["host"]) == ("GET", "/p/0?q=1", "www.shop.example")
    assert row["user_agent"] == 'curl/8 "beta"'
    assert (row["status"], row["duration_ns"], row["upstream_ns"]) == (503, 12 * 10**6, 7 * 10**6)
    assert (row["bytes_received"], row["bytes_sent"]) == (3, 82)
    flags = {name for bit, name in enumerate(RESPONSE_FLAGS) if int(row["flags"]) >> bit & 1}
    assert flags == {"UF", "URX"}
    assert unpack(row["up_remote_addr"].tobytes()) == "2001:db8::1"
    assert row["up_remote_port"] == 3000
    assert (row["kind"], row["http_version"]) == (EntryKind.HTTP, HttpVersion.HTTP11)
    assert row["headers"] == {"x-forwarded-for": "10.0.0.9"}


def test_what_istio_writes_for_a_connection() -> None:
    (row,) = parsed(
        '[2026-11-21T08:14:23.457Z] "- - -" 0 - - - "-" 624 1961 23 - "-" "-" "-" "-" '
        '"127.0.16.1:8443" outbound|8443||tls.shop.svc.cluster.local 127.0.20.1:49978 '
        "127.0.20.1:10443 127.0.30.7:46741 pass.shop.example -"
    )
    assert row["kind"] == EntryKind.TCP
    assert (row["sni"], row["status"], row["path"]) == ("pass.shop.example", 0, "")
    assert row["cluster"] == "outbound|8443||tls.shop.svc.cluster.local"
    assert (row["client_port"], row["local_port"], row["up_local_port"]) == (46741, 10443, 49978)


def test_json_by_its_keys_null_and_dash_being_absent() -> None:
    (row,) = parsed(
        json.dumps(
            {
                "@timestamp": "2026-11-21T08:14:05.574Z",
                "method": "GET",
                "path": "/a",
                "authority": "h",
                "response_code": "0",
                "response_flags": "-",
                "upstream_cluster": None,
                "upstream_host": "-",
                "downstream_direct_remote_address": "10.0.0.1:5",
                "downstream_remote_address": "192.0.2.1:0",
                "common_duration_ds_rx_beg_ds_tx_end_us": 1500,
                "duration": 1,
                "req_x_canary": "yes",
            }
        )
    )
    assert (row["status"], row["flags"], row["cluster"]) == (0, 0, "")
    assert not row["up_remote_addr"].any()
    assert unpack(row["client_addr"].tobytes()) == "10.0.0.1"
    assert row["duration_ns"] == 1_500_000
    assert row["headers"] == {"x-canary": "yes"}


def test_the_samples_of_kgateways_guide() -> None:
    (row,) = parsed(
        '{"start_time":"2026-11-21T08:14:05.574Z","method":"GET","path":"/a","protocol":"HTTP/2",'
        '"response_code":200,"response_flags":"-","bytes_received":0,"bytes_sent":3,'
        '"total_duration":4,"resp_backend_service_time":"2","authority":"h","user_agent":"u",'
        '"request_id":"i","backendHost":"10.0.0.2:80","backendCluster":"kube_shop_web_8080"}'
    )
    assert (row["duration_ns"], row["upstream_ns"]) == (4_000_000, 2_000_000)
    assert (row["cluster"], row["up_remote_port"]) == ("kube_shop_web_8080", 80)


def test_intermediate_entries_are_left_out_and_told() -> None:
    parser = LineParser(Losses())
    for kind in ("TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd"):
        parser.add(json.dumps({"access_log_type": kind, "duration": 1, "bytes_sent": 2}).encode())
    assert len(parser.take()) == 1
    assert (parser.seen, parser.intermediate) == (1, 2)


@pytest.mark.parametrize(
    ("form", "text", "nanoseconds"),
    [
        ("%START_TIME(%s)%", "1795248845", 1795248845 * 10**9),
        ("%START_TIME(%s.%6f)%", "1795248845.574719", 1795248845574719000),
        ("%START_TIME(%s%3f)%", "1795248845574", 1795248845574 * 10**6),
        ("%START_TIME(%Y-%m-%dT%H:%M:%S.%9fZ)%", "2026-11-21T08:14:05.000000007Z", 1795248845000000007),
        ("%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2026/11/21T10:14:05+0200 1795248845", 1795248845 * 10**9),
        ("%START_TIME(%d/%b/%Y:%T %z)%", "21/Nov/2026:10:14:05 +0200", 1795248845 * 10**9),
        ("%START_TIME(%b %e %H:%M:%E3S %Y)%", "Nov 21 08:14:05.250 2026", 1795248845250 * 10**6),
    ],
)  # fmt: skip
def test_forms_of_the_start_time(tmp_path: Path, form: str, text: str, nanoseconds: int) -> None:
    snippet = written(tmp_path, f'text_format: "[{form}] %RESPONSE_CODE% %DURATION%\\n"')
    (row,) = parsed(f"[{text}] 200 1", formats=snippet)
    assert int(row["time_ns"]) == nanoseconds


@pytest.mark.parametrize(
    "snippet",
    [
        'json_format: {t: "%START_TIME%", c: {rc: "%RESPONSE_CODE%"}, l: "%REQ(:METHOD)% %REQ(:PATH)%"}',
        """access_log: [{log_format: {json_format: {t: "%START_TIME%", c: {rc: "%RESPONSE_CODE%"},
        l: "%REQ(:METHOD)% %REQ(:PATH)%", u: "%UNIQUE_ID%"}}}]""",
        '{"t": "%START_TIME%", "c": {"rc": "%RESPONSE_CODE%"}, "l": "%REQ(:METHOD)% %REQ(:PATH)%"}',
    ],
)
def test_a_given_json_format_with_nested_and_joined_values(tmp_path: Path, snippet: str) -> None:
    line = '{"t": "2026-11-21T08:14:05.574Z", "c": {"rc": 404}, "l": "GET /a%20b", "u": "x"}'
    (row,) = parsed(line, formats=written(tmp_path, snippet))
    assert (row["status"], row["method"], row["path"]) == (404, "GET", "/a%20b")


def test_a_bare_text_line_is_a_format(tmp_path: Path) -> None:
    snippet = written(
        tmp_path, "[%START_TIME%] %REQ(X-A?:AUTHORITY)%|%REQ(X-B)%|%SOMETHING_NEW(1)%"
    )
    (row,) = parsed("[2026-11-21T08:14:05.574Z] h.example|b|whatever, this", formats=snippet)
    assert (row["host"], row["headers"]) == ("h.example", {"x-b": "b"})


@pytest.mark.parametrize("text", ["", "json_format: {a: b}", "a: %", "text_format: '%FOO'", "[%"])
def test_a_format_file_without_a_format_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="access-log format"):
        load_formats(Path(written(tmp_path, text)))


def test_both_paths_of_a_rewritten_request() -> None:
    (row,) = parsed(
        '{"duration": 1, "req_path": "/new", "path": "/old", "response_code": 200, "method": "GET"}'
    )
    assert (row["path"], row["original_path"]) == ("/new", "/old")


def test_malformed_values_are_counted_and_left_out() -> None:
    losses = Losses()
    batch = parsed(
        json.dumps(
            {
                "start_time": "yesterday",
                "duration": -4,
                "response_code": 70000,
                "bytes_sent": 1 << 70,
                "response_flags": "UF,WHAT",
                "upstream_host": "10.0.0.256:80",
                "downstream_local_address": "10.0.0.1:70000",
            }
        ),
        losses=losses,
    )
    assert len(batch) == 1
    assert lost(losses) == {
        "bad_time": 1,
        "bad_duration": 1,
        "bad_number": 2,
        "bad_flags": 1,
        "bad_address": 2,
    }


def test_lines_that_are_no_entries_are_counted_by_reason() -> None:
    losses = Losses()
    lines = (
        "{",
        "[1]",
        "{}",
        '{"a": 1, "b": 2}',
        "hello",
        "",
        "[2026-11-21 08:14:05.1][7][info] x",
    )
    assert len(parsed(*lines, losses=losses)) == 0
    assert lost(losses) == {"malformed_json": 1, "malformed_text": 2, "unknown_format": 2}
    assert losses.snapshot()[Place.ACCESS_LOG, "malformed_json"] == 1


def test_a_line_that_is_no_utf8_is_still_read() -> None:
    parser = LineParser(Losses())
    assert parser.add(b'{"duration": 1, "response_code": 200, "path": "/\xff"}')
    assert parser.take()["path"][0] == "/\ufffd"


def test_entries_of_several_formats_keep_their_order() -> None:
    other = '{"duration": 1, "response_code": 201, "path": "/json"}'
    batch = parsed(ENVOY_LINE, other, ENVOY_LINE, other)
    assert batch["status"].tolist() == [503, 201, 503, 201]


def test_a_hostile_line_takes_no_longer_than_it_is_long() -> None:
    form = TextFormat(ENVOY)
    assert form.read("[" + '" "' * 300_000) is None
    assert form.read('[2026-11-21T08:14:22.698Z] "' + "a " * 500_000) is None
