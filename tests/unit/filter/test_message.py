"""Filters over messages: the cases of every field, and flows of other servers."""

from typing import Any

import pytest
from google.protobuf import json_format

from flowd.filter import FilterError, RouteFilter, message_filter
from flowd.wire.flow.flow_pb2 import Flow, FlowFilter
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import SAMPLES, cluster, sample_rows
from tests.unit.filter.test_fields import ALL, CASES, REFUSED, ROUTED

FLOWS = dict(zip(SAMPLES, FlowEncoder(cluster()).encode(sample_rows()), strict=True))


def filter_of(fields: dict[str, Any]) -> FlowFilter:
    return json_format.ParseDict(fields, FlowFilter())


def flow_of(**fields: Any) -> Flow:
    return json_format.ParseDict(fields, Flow())


@pytest.mark.parametrize(("wanted", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_field_matches_its_flows(wanted: dict[str, object], expected: set[str]) -> None:
    one = filter_of(wanted)
    allowed, denied = message_filter([one], []), message_filter([], [one])
    assert {name for name, flow in FLOWS.items() if allowed(flow)} == expected
    assert {name for name, flow in FLOWS.items() if denied(flow)} == ALL - expected


@pytest.mark.parametrize(("wanted", "named"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_a_bad_value_is_refused_by_name(wanted: dict[str, object], named: str) -> None:
    with pytest.raises(FilterError) as caught:
        message_filter([filter_of(wanted)], [])
    assert named in caught.value.message


@pytest.mark.parametrize(("wanted", "expected"), ROUTED, ids=[str(case[0]) for case in ROUTED])
def test_route_filters_read_the_extension(wanted: RouteFilter, expected: set[str]) -> None:
    test = message_filter([], [], wanted)
    assert {name for name, flow in FLOWS.items() if test(flow)} == expected


FOREIGN: list[tuple[dict[str, Any], Flow, bool]] = [
    ({"source_fqdn": ["*.example"]}, flow_of(source_names=["x", "API.example"]), True),
    ({"destination_fqdn": ["api*.NET."]}, flow_of(destination_names=["api-1.x.net"]), True),
    ({"destination_fqdn": ["api"]}, flow_of(destination_names=["api.x"]), False),
    ({"source_ip_xlated": ["10.0.0.0/8"]}, flow_of(IP={"source_xlated": "10.9.9.9"}), True),
    ({"source_ip": ["10.0.0.0/8"]}, flow_of(IP={"source": "not an address"}), False),
    ({"source_ip": ["2001:DB8::1"]}, flow_of(IP={"source": "2001:db8::1"}), True),
    ({"protocol": ["dns"]}, flow_of(l7={"dns": {}}), True),
    ({"protocol": ["kafka"]}, flow_of(l7={"kafka": {}}), True),
    ({"protocol": ["http"]}, flow_of(l7={"dns": {}}), False),
    ({"dns_query": ["^ledger"]}, flow_of(l7={"dns": {"query": "ledger.pay."}}), True),
    ({"dns_query": [".*"]}, flow_of(l7={"http": {}}), False),
    ({"http_url": [".*"]}, flow_of(l7={"dns": {}}), False),
    ({"http_path": ["^/a$"]}, flow_of(l7={"http": {"url": "/a?x"}}), True),
    ({"http_path": [".*"]}, flow_of(l7={"http": {"url": "a"}}), False),
    ({"node_labels": ["zone=a"]}, flow_of(node_labels=["zone=a"]), True),
    ({"node_name": ["prod/node-*"]}, flow_of(node_name="prod/node-b"), True),
    ({"node_name": ["default/node-b"]}, flow_of(node_name="node-b"), True),
    ({"tcp_flags": [{"NS": True}]}, flow_of(l4={"TCP": {"flags": {"NS": True}}}), True),
    ({"tcp_flags": [{}]}, flow_of(l4={"TCP": {}}), False),
    ({"ip_version": ["IP_NOT_USED"]}, flow_of(), True),
    ({"ip_trace_id": ["7"]}, flow_of(ip_trace_id={"trace_id": "7"}), True),
    ({"encrypted": [True]}, flow_of(IP={"encrypted": True}), True),
    ({"encrypted": [False]}, flow_of(), True),
    ({"reply": [False]}, flow_of(), False),
    ({"reply": [False]}, flow_of(verdict="DROPPED"), True),
    ({"source_identity": [0]}, flow_of(), False),
    ({"source_identity": [0]}, flow_of(source={}), True),
    ({"source_label": ["!app"]}, flow_of(), True),
    ({"event_type": [{}]}, flow_of(), False),
    ({"source_workload": [{"kind": "Job"}]}, flow_of(source={"workloads": [{}, {"kind": "Job"}]}),
     True),
    ({"drop_reason_desc": ["POLICY_DENIED"]}, flow_of(drop_reason_desc="POLICY_DENIED"), False),
    ({"uuid": ["a"]}, flow_of(uuid="a"), True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "flow", "expected"), FOREIGN, ids=[f"{i}-{c[0]}" for i, c in enumerate(FOREIGN)]
)
def test_flows_that_flowd_itself_does_not_make(
    wanted: dict[str, Any], flow: Flow, expected: bool
) -> None:
    assert message_filter([filter_of(wanted)], [])(flow) is expected


def test_an_extension_that_cannot_be_read_has_no_route() -> None:
    flow = Flow()
    flow.extensions.type_url = "type.googleapis.com/google.protobuf.Struct"
    flow.extensions.value = b"\xff"
    assert message_filter([], [], RouteFilter(attribution=("none",)))(flow)
    assert not message_filter([], [], RouteFilter(gateway=("a/b",)))(flow)


def test_every_field_has_a_flow_that_it_matches_and_one_that_it_does_not() -> None:
    answers: dict[str, set[bool]] = {}
    for fields, expected in CASES:
        if len(fields) == 1:
            told = {name in expected for name in ALL}
            answers.setdefault(next(iter(fields)), set()).update(told)
    for fields, _, expected in FOREIGN:
        answers.setdefault(next(iter(fields)), set()).add(expected)
    missing = set(FlowFilter.DESCRIPTOR.fields_by_name) - {"experimental"}
    assert {name for name in missing if answers.get(name) != {True, False}} == set()
