"""Output formats against golden files, and hostile texts in flows."""

from pathlib import Path

import pytest
from google.protobuf.json_format import Parse

from flowd.observe.output.printers import Printer, printer
from flowd.observe.output.style import Paint, Style
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from tests.support import observe_samples as samples

GOLDEN = Path(__file__).parents[2] / "golden" / "observe"


def printed(output: Printer, *responses: GetFlowsResponse) -> str:
    lines = [output.lost(r) if r.HasField("lost_events") else output.flow(r) for r in responses]
    return "".join(lines) + output.end()


def golden(name: str) -> str:
    return (GOLDEN / f"{name}.txt").read_bytes().decode()


def test_compact_is_hubbles() -> None:
    assert printed(printer("compact", Style()), *samples.ALL) == golden("compact")


def test_table_is_hubbles() -> None:
    table = printer("table", Style(node_name=True))
    assert printed(table, samples.SYN, samples.SYN_ACK) == golden("table")


def test_dict_is_hubbles() -> None:
    records = printer("dict", Style(node_name=True))
    assert printed(records, samples.SYN, samples.LOST) == golden("dict")


def test_json_is_hubbles() -> None:
    lines = golden("json").splitlines()
    responses = [Parse(line, GetFlowsResponse()) for line in lines]
    assert printed(printer("json", Style()), *responses) == golden("json")


def test_wide_adds_node_addresses_and_route() -> None:
    assert printed(printer("wide", Style()), samples.SYN, samples.HTTP) == golden("wide")


def test_table_shows_lost_events_in_its_columns() -> None:
    header, row = printed(printer("table", Style()), samples.LOST).splitlines()
    assert header.split() == ["TIMESTAMP", "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"]
    assert row == (
        "Nov 21 09:15:01.000   HUBBLE_RING_BUFFER   -             EVENTS LOST   -         "
        "CPU(0) - 17 (first: Nov 21 09:14:59.000, last: Nov 21 09:15:00.000)"
    )


def test_an_empty_table_prints_nothing() -> None:
    assert printer("table", Style()).end() == ""


def test_node_name_goes_before_the_colon() -> None:
    line = printer("compact", Style(node_name=True)).flow(samples.SYN)
    assert line.startswith("Nov 21 09:15:00.000 [prod/node-a]: orders/")


@pytest.mark.parametrize("form", ["compact", "wide", "dict", "table"])
def test_numeric_prints_addresses(form: str) -> None:
    text = printed(printer(form, Style(names=False)), samples.SYN)
    assert "10.8.1.20:40112" in text
    assert "checkout" not in text


def test_service_namespace_replaces_the_endpoints() -> None:
    response = GetFlowsResponse()
    response.CopyFrom(samples.SYN)
    response.flow.destination_service.name = "ledger"
    assert " ledger-0:8443 " in printer("compact", Style()).flow(response)


def test_summary_carries_ip_trace_and_authentication() -> None:
    response = GetFlowsResponse()
    response.CopyFrom(samples.SYN)
    response.flow.ip_trace_id.trace_id = 77
    response.flow.auth_type = "SPIRE"  # type: ignore[assignment]
    line = printer("compact", Style()).flow(response)
    assert line.endswith("(IP Trace ID: 77; TCP Flags: SYN; Auth: SPIRE)\n")


def test_unknown_numbers_print_as_numbers() -> None:
    response = GetFlowsResponse()
    response.CopyFrom(samples.DENIED)
    response.flow.verdict = 99  # type: ignore[assignment]
    response.flow.event_type.sub_type = 250
    assert " 250, 0 99 " in printer("compact", Style()).flow(response)
    assert '"verdict":99' in printer("json", Style()).flow(response)


def test_policy_names_follow_the_verdict() -> None:
    response = GetFlowsResponse()
    response.CopyFrom(samples.VERDICT)
    response.flow.ingress_denied_by.add(name="no-world", kind="CiliumNetworkPolicy")
    response.flow.ingress_denied_by.add(name="base", kind="NetworkPolicy")
    line = printer("compact", Style(policy_names=True)).flow(response)
    assert " DENIED BY no-world (CiliumNetworkPolicy), base (NetworkPolicy) (" in line
    assert " BY " not in printer("compact", Style()).flow(response)


def test_colours_are_hubbles() -> None:
    line = printer("compact", Style(paint=Paint(True))).flow(samples.DENIED)
    assert "\x1b[36m198.51.100.23:\x1b[33m61000\x1b[0m\x1b[0m \x1b[35m(world)\x1b[0m <> " in line
    assert "\x1b[31mDROPPED\x1b[0m" in line
    assert "\x1b" not in printed(printer("table", Style()), samples.DENIED)


@pytest.mark.parametrize("form", ["compact", "wide", "dict", "table", "json"])
def test_what_strangers_write_cannot_reach_the_terminal(form: str) -> None:
    evil = "\x1b]0;owned\x07\r\n\x9b31m\u202e"
    response = GetFlowsResponse()
    response.CopyFrom(samples.HTTP)
    flow = response.flow
    flow.Summary = flow.source.pod_name = flow.destination.namespace = evil
    flow.node_name = response.node_name = evil
    flow.l7.dns.observation_source = evil
    text = printed(printer(form, Style(node_name=True)), response)
    controls = {c for c in text if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e"}
    assert controls <= {"\n"}
    if form != "json":
        assert r"^[]0;owned^G\r^J\x9b31m\u202e" in text


def test_json_with_escapes_still_says_the_same() -> None:
    response = GetFlowsResponse()
    response.CopyFrom(samples.SYN)
    response.flow.Summary = "\x9b\u202e<&>"
    line = printer("json", Style()).flow(response)
    assert r"\u009b\u202e\u003c\u0026\u003e" in line
    assert Parse(line, GetFlowsResponse()) == response


def test_foreign_extensions_do_no_harm() -> None:
    response = GetFlowsResponse()
    response.CopyFrom(samples.SYN)
    response.flow.extensions.type_url = "type.googleapis.com/google.protobuf.Struct"
    response.flow.extensions.value = b"\xff\xff"
    assert printer("wide", Style()).flow(response).endswith(" dst=10.8.2.31\n")
    response.flow.extensions.type_url = "type.googleapis.com/example.Private"
    assert "example.Private" in printer("json", Style()).flow(response)


def test_states_of_nodes_as_hubble_tells_them() -> None:
    compact = printer("compact", Style())
    gone = samples.node_status("NODE_UNAVAILABLE", "prod/node-b", "prod/node-c")
    assert compact.node_status(gone) == (
        "Nov 21 09:15:01.000 [relay-0]: 2 nodes are unavailable: prod/node-b, prod/node-c\n"
    )
    broken = samples.node_status("NODE_ERROR", "prod/node-b", message="boom")
    assert compact.node_status(broken) == (
        'Nov 21 09:15:01.000 [relay-0]: Error "boom" on 1 nodes: prod/node-b\n'
    )
    connected = samples.node_status("NODE_CONNECTED", "prod/node-a")
    assert compact.node_status(connected) == ""
    assert "prod/node-a" in printer("compact", Style(debug=True)).node_status(connected)


def test_long_lists_of_nodes_are_cut() -> None:
    names = [f"prod/node-{number:02d}" for number in range(12)]
    line = printer("compact", Style()).node_status(samples.node_status("NODE_UNAVAILABLE", *names))
    assert line.endswith("prod/node-00, prod/node-01, prod/node-02 (and 9 more)\n")
    long = printer("compact", Style()).node_status(
        samples.node_status("NODE_UNAVAILABLE", "x" * 80, "y")
    )
    assert long.endswith(f"{'x' * 80} (and 1 more)\n")
