"""No line makes a parser raise."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.accesslog.jsonformat import JsonFormat
from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.operators import split_format
from flowd.accesslog.textformat import ISTIO, TextFormat
from flowd.accesslog.times import parse_strftime, parse_time, strftime_pattern
from flowd.capture.logs.otlp_entries import OtlpEntries
from flowd.capture.logs.wrapping import Unwrapper
from flowd.commands.replay.flows import FlowLogParser
from flowd.model.losses import Losses

KEYS = ["start_time", "duration", "response_code", "response_flags", "upstream_host", "path",
        "req_path", "method", "protocol", "bytes_sent", "access_log_type", "user_agent",
        "downstream_local_port", "x-envoy-upstream-service-time", ":authority", "req_x_a"]  # fmt: skip
VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["-", "", "NaN", "1e999", "-1", "127.0.0.1:80", "[::1]:", "[", ":", "UF,"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES), max_size=8))
def test_any_values_under_known_keys(entries: list[dict[str, Any]]) -> None:
    parser = LineParser(Losses(), final_only=False)
    taken = sum(parser.add(json.dumps(entry).encode()) for entry in entries)
    batch = parser.take()
    assert len(batch) == taken
    assert all(isinstance(path, str) for path in batch["path"])


@QUICK
@given(st.lists(st.binary(max_size=200) | st.text(max_size=200).map(str.encode), max_size=8))
def test_any_lines(lines: list[bytes]) -> None:
    losses = Losses()
    parser, flows, wrapping = LineParser(losses), FlowLogParser(losses), Unwrapper(losses)
    for line in lines:
        parser.add(line)
        flows.add(line)
        wrapping.feed(line)
    parser.take()
    flows.take()


@QUICK
@given(st.dictionaries(st.sampled_from(["time", "IP", "l4", "l7", "extensions", "is_reply"]), VALUES),
       st.dictionaries(st.sampled_from(["http", "latency_ns", "type"]), VALUES))  # fmt: skip
def test_any_flow(flow: dict[str, Any], layer7: dict[str, Any]) -> None:
    flows = FlowLogParser(Losses())
    flows.add(json.dumps({"flow": {**flow, "l7": layer7, "l4": {"TCP": layer7}}}).encode())
    batch, _ = flows.take()
    assert len(batch) <= 1


@QUICK
@given(st.text('[]"- 0aZ:.|,{}%', max_size=400))
def test_any_text_line(line: str) -> None:
    form = TextFormat(ISTIO)
    row = form.read(line)
    assert row is None or len(row) == form.plan.width


@QUICK
@given(st.text("%STAR_IME()YmdsfEz: -?REQ", max_size=60))
def test_any_format(text: str) -> None:
    try:
        split_format(text)
        TextFormat(text)
        JsonFormat({"a": text, "b": {"c": text + " %DURATION%"}})
    except ValueError:
        pass


@QUICK
@given(st.text("0123456789-:.TZ+ /NovUTC", max_size=50), st.text("%YmdHMSbfszEeT:/ -", max_size=20))
def test_any_time(text: str, form: str) -> None:
    for read in (
        lambda: parse_time(text),
        lambda: strftime_pattern(form),
        lambda: parse_strftime(text, form),
    ):
        try:
            read()
        except (ValueError, OverflowError):
            continue


@QUICK
@given(
    st.binary(max_size=300), st.dictionaries(st.sampled_from(KEYS), st.text(max_size=20)), st.text()
)
def test_any_export_request(raw: bytes, attributes: dict[str, str], body: str) -> None:
    entries = OtlpEntries(Losses())
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano = int.from_bytes(raw[:8], "big")
    record.body.string_value = body
    for key, value in attributes.items():
        record.attributes.add(key=key).value.string_value = value
    entries.add(request)
    assert len(entries.take()) <= 1
