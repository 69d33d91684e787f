"""Masks over random flows equal a plain evaluator over the messages of the same flows."""

from typing import Any

from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.filter import compile_filters
from flowd.wire.flow.flow_pb2 import FlowFilter
from flowd_exporters.hubble.encode import FlowEncoder
from tests.unit.flow_samples import cluster, random_rows
from tests.unit.slow_filter import passes


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3)


ADDRESSES = ("10.1.0.1", "10.1.0.2", "10.1.0.0/24", "198.51.100.7", "2001:db8::/32", "::/0")
PODS = ("shop/web", "shop/", "/coredns", "kube-system/", "web", "/")
TYPES = (
    {"type": 4},
    {"type": 129},
    {"type": 4, "match_sub_type": True, "sub_type": 3},
    {"match_sub_type": True},
)
PLAIN = {
    "source_ip": some(*ADDRESSES),
    "destination_ip": some(*ADDRESSES),
    "source_pod": some(*PODS),
    "destination_pod": some(*PODS),
    "source_service": some("shop/", "shop/cart", "cart"),
    "destination_service": some("shop/", "/x"),
    "source_label": some("app=web", "app=cart", "!app", "io.kubernetes.pod.namespace=shop"),
    "verdict": some("FORWARDED", "DROPPED", "VERDICT_UNKNOWN"),
    "traffic_direction": some("INGRESS", "EGRESS"),
    "source_identity": some(0, 2, 400, 401),
    "ip_version": some("IPv4", "IPv6"),
    "destination_port": some("8080", "53", "0"),
    "reply": some(True, False),
    "tcp_flags": some({"SYN": True}, {"ACK": True, "PSH": True}, {}),
    "protocol": some("tcp", "UDP", "icmp", "icmpv4", "http", "dns", "sctp"),
    "source_ip_xlated": some("192.0.2.1", "10.0.0.0/8", "::/0"),
    "source_fqdn": some("*.example", "db.*"),
    "destination_fqdn": some("api.*.net", "*", "db.example"),
    "dns_query": some("^api", "net", "x$"),
}
HTTP = {
    "http_status_code": some("503", "4+", "20+"),
    "http_method": some("get", "POST"),
    "http_path": some("^/cart", "x=1", "items$"),
}
FILTERS = st.lists(
    st.one_of(
        st.fixed_dictionaries({}, optional=PLAIN | {"event_type": some(*TYPES)}),
        st.fixed_dictionaries({}, optional=PLAIN | HTTP),
    ).map(lambda fields: json_format.ParseDict(fields, FlowFilter())),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(FILTERS, FILTERS, st.integers(0, 2**32 - 1))
def test_masks_equal_the_plain_evaluator(
    white: list[FlowFilter], black: list[FlowFilter], seed: int
) -> None:
    directory = cluster()
    rows = random_rows(40, seed)
    mask = compile_filters(white, black, directory)(rows)
    flows = FlowEncoder(directory).encode(rows)
    assert mask.tolist() == [passes(flow, white, black) for flow in flows]


def test_the_evaluator_tells_flows_apart() -> None:
    directory = cluster()
    flows = list(FlowEncoder(directory).encode(random_rows(200, 1)))
    for fields in ({"source_pod": ["shop/web"]}, {"http_status_code": ["4+"]}, {"reply": [True]}):
        wanted = json_format.ParseDict(fields, FlowFilter())
        assert 0 < sum(passes(flow, [wanted], []) for flow in flows) < 200
