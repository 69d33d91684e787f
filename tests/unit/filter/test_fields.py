"""Every field of FlowFilter over the named samples: matching flows and rejected values."""

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from flowd.filter import (
    FilterError,
    RouteFilter,
    UnsupportedFilter,
    compile_filters,
    message_filter,
    route_filter,
)
from flowd.filter.uuid7 import flow_uuid, node_bits
from flowd.wire.flow.flow_pb2 import FlowFilter
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import SAMPLES, START, cluster, pod, sample_rows

ALL = set(SAMPLES)


def matching(*filters: dict[str, object], blacklist: bool = False) -> set[str]:
    directory = cluster()
    messages = [json_format.ParseDict(one, FlowFilter()) for one in filters]
    white, black = ([], messages) if blacklist else (messages, [])
    mask = compile_filters(white, black, directory)(sample_rows())
    return {name for name, hit in zip(SAMPLES, mask.tolist(), strict=True) if hit}


HTTP = {"request", "response"}
DNS = {"query", "answer"}
FROM_WEB = {"syn", "dns", "service", "query", "socket", "outside"}
TO_CART = {"syn", "request", "drop", "ping"}

THIRD = flow_uuid(START + 2_000_000, 3, node_bits(cluster()))

CASES: list[tuple[dict[str, object], set[str]]] = [
    ({}, ALL),
    ({"source_ip": ["10.1.0.1"]}, FROM_WEB),
    ({"source_ip": ["10.1.0.0/24"]}, ALL - {"request", "drop"}),
    ({"source_ip": ["10.1.0.9/24"]}, ALL - {"request", "drop"}),
    ({"source_ip": ["0.0.0.0/0"]}, ALL - {"drop"}),
    ({"source_ip": ["::/0"]}, {"drop"}),
    ({"source_ip": ["2001:db8::/32", "198.51.100.7"]}, {"request", "drop"}),
    ({"destination_ip": ["fd00::2"]}, {"drop"}),
    ({"destination_ip": ["10.1.0.2/31"]}, {"syn", "request", "ping"}),
    ({"source_ip_xlated": ["10.1.0.1"]}, set()),
    ({"source_ip_xlated": ["192.0.2.1", "10.0.0.0/8"]}, {"outside"}),
    ({"source_ip_xlated": ["192.0.2.0/24"]}, {"outside"}),
    ({"source_pod": ["shop/web"]}, FROM_WEB),
    ({"source_pod": ["shop/"]}, FROM_WEB | {"synack", "response"}),
    ({"source_pod": ["/web-7f"]}, FROM_WEB),
    ({"source_pod": ["/"]}, FROM_WEB | {"synack", "response", "answer"}),
    ({"source_pod": ["web"]}, set()),
    ({"destination_pod": ["shop/cart", "kube-system/coredns-1"]}, TO_CART | {"dns", "query"}),
    ({"destination_pod": ["shop/"]}, TO_CART | {"synack", "service", "answer", "socket"}),
    ({"source_fqdn": ["*.example"]}, set()),
    ({"destination_fqdn": ["API.example.net."]}, {"outside"}),
    ({"destination_fqdn": ["x.org", "*.net"]}, {"outside"}),
    ({"destination_fqdn": ["example.net", "api"]}, set()),
    ({"source_label": ["app=web"]}, FROM_WEB),
    ({"source_label": ["k8s:app in (web, cart),k8s:app!=cart"]}, FROM_WEB),
    ({"source_label": ["reserved:world"]}, {"request", "drop"}),
    ({"source_label": ["any:app"]}, FROM_WEB | {"synack", "response", "answer"}),
    ({"source_label": ["container:app"]}, set()),
    ({"source_label": ["!app", "app=web"]}, {"request", "drop", "ping"} | FROM_WEB),
    ({"destination_label": ["app notin (cart)"]}, ALL - TO_CART),
    ({"node_labels": ["zone=a"]}, set()),
    ({"node_labels": ["!zone"]}, ALL),
    ({"source_service": ["shop/cart"]}, {"synack", "response"}),
    ({"destination_service": ["shop/"]}, TO_CART | {"service", "socket"}),
    ({"destination_service": ["default/cart"]}, set()),
    ({"source_workload": [{"name": "web"}]}, FROM_WEB),
    ({"source_workload": [{"kind": "StatefulSet"}]}, {"synack", "response"}),
    ({"destination_workload": [{"name": "web", "kind": "StatefulSet"}]}, set()),
    ({"destination_workload": [{"name": "web"}, {"name": "cart"}]}, TO_CART | {"synack", "answer"}),
    ({"source_cluster_name": ["default"]}, ALL - {"request", "drop"}),
    ({"destination_cluster_name": ["def*"]}, set()),
    ({"destination_cluster_name": ["prod", "default"]}, ALL - {"response", "outside"}),
    ({"uuid": [THIRD]}, {"request"}),
    ({"uuid": [THIRD.upper(), "", "x"]}, set()),
    ({"traffic_direction": ["INGRESS"]}, {"synack", "request", "drop", "answer"}),
    ({"traffic_direction": ["TRAFFIC_DIRECTION_UNKNOWN"]}, {"ping"}),
    ({"verdict": ["DROPPED", "TRANSLATED"]}, {"drop", "service", "socket"}),
    ({"drop_reason_desc": ["POLICY_DENIED"]}, {"drop"}),
    ({"drop_reason_desc": ["STALE_OR_UNROUTABLE_IP"]}, set()),
    ({"interface": [{"name": "eth0"}]}, {"syn"}),
    ({"interface": [{"index": 3}, {"name": "eth0"}]}, {"syn", "synack"}),
    ({"interface": [{"index": 3, "name": "eth0"}]}, set()),
    ({"interface": [{}]}, {"syn", "synack"}),
    ({"event_type": [{"type": 129}]}, HTTP | DNS),
    ({"event_type": [{"type": 7}]}, {"socket"}),
    ({"event_type": [{"type": 7, "match_sub_type": True, "sub_type": 2}]}, {"socket"}),
    ({"event_type": [{"type": 7, "match_sub_type": True, "sub_type": 1}]}, set()),
    (
        {"event_type": [{"type": 4, "match_sub_type": True, "sub_type": 3}]},
        {"syn", "service"},
    ),
    ({"event_type": [{"match_sub_type": True, "sub_type": 133}]}, {"drop"}),
    ({"event_type": [{}]}, ALL),
    ({"http_status_code": ["503"]}, {"response"}),
    ({"http_status_code": ["5+"]}, {"response"}),
    ({"http_status_code": ["50+", "200"]}, {"response"}),
    ({"http_status_code": ["51+"]}, set()),
    ({"protocol": ["ICMP"]}, {"ping"}),
    ({"protocol": ["icmpv6", "sctp", "vrrp", "igmp", "kafka"]}, set()),
    ({"protocol": ["DNS"]}, DNS),
    ({"protocol": ["dns", "http", "icmp"]}, DNS | HTTP | {"ping"}),
    ({"protocol": ["udp"]}, DNS | {"dns"}),
    ({"protocol": ["http"]}, HTTP),
    ({"protocol": ["tcp"]}, ALL - {"dns", "ping"} - DNS),
    ({"source_port": ["040000", "53311"]}, {"syn", "dns", "query"}),
    ({"source_port": ["0"]}, set()),
    ({"destination_port": ["8080"]}, {"syn", "request"}),
    ({"reply": [True]}, {"synack", "response", "answer"}),
    ({"reply": [False]}, ALL - {"synack", "response", "answer"}),
    ({"dns_query": ["x"]}, DNS),
    ({"dns_query": [r"^api\..*\.$"]}, DNS),
    ({"dns_query": ["^x", "API"]}, set()),
    ({"source_identity": [400, 2]}, FROM_WEB | {"request", "drop"}),
    ({"destination_identity": [402]}, {"dns", "query"}),
    ({"http_method": ["get", "PUT"]}, HTTP),
    ({"http_method": ["POST"]}, set()),
    ({"http_path": ["^/cart/items$"]}, HTTP),
    ({"http_path": ["example", "x=1"]}, set()),
    ({"http_url": [r"shop\.example.*x=\d"]}, HTTP),
    ({"http_header": [{"key": "x-team", "value": "blue"}]}, HTTP),
    ({"http_header": [{"key": "X-Team", "value": "blue"}]}, set()),
    ({"http_header": [{"key": "x-team", "value": "Blue"}]}, set()),
    ({"tcp_flags": [{"SYN": True}]}, {"syn", "synack", "drop"}),
    ({"tcp_flags": [{"SYN": True, "ACK": True}, {"PSH": True}]}, {"synack", "service"}),
    ({"tcp_flags": [{"NS": True}]}, set()),
    ({"tcp_flags": [{}]}, {"syn", "synack", "drop", "service", "outside"}),
    ({"node_name": ["node-*"]}, ALL),
    ({"node_name": ["default/"]}, ALL),
    ({"node_name": ["prod/node-a", "node-b"]}, set()),
    ({"ip_version": ["IPv6"]}, {"drop"}),
    ({"ip_version": ["IP_NOT_USED"]}, set()),
    ({"trace_id": ["4bf92f3577b34da6a3ce929d0e0e4736"]}, HTTP),
    ({"trace_id": ["4bf9"]}, set()),
    ({"ip_trace_id": ["7"]}, set()),
    ({"encrypted": [True]}, set()),
    ({"encrypted": [True, False]}, ALL),
    (
        {"source_pod": ["shop/web"], "destination_port": ["53", "80"]},
        {"dns", "service", "query", "socket"},
    ),
]


@pytest.mark.parametrize(("wanted", "expected"), CASES, ids=[str(case[0]) for case in CASES])
def test_a_field_matches_its_flows(wanted: dict[str, object], expected: set[str]) -> None:
    assert matching(wanted) == expected
    assert matching(wanted, blacklist=True) == ALL - expected


def test_every_field_has_a_case() -> None:
    covered = {name for case, _ in CASES for name in case} | {"experimental"}
    assert covered == set(FlowFilter.DESCRIPTOR.fields_by_name)


def test_whitelisted_filters_are_alternatives_and_the_blacklist_takes_away() -> None:
    directory = cluster()
    white = [FlowFilter(destination_port=["53"]), FlowFilter(protocol=["tcp"])]
    black = [FlowFilter(verdict=["DROPPED"]), FlowFilter(source_pod=["shop/web"], protocol=["tcp"])]
    mask = compile_filters(white, black, directory)(sample_rows())
    found = {name for name, hit in zip(SAMPLES, mask.tolist(), strict=True) if hit}
    assert found == {"synack", "request", "response", "dns", "query"}


def test_uuid_finds_its_flow_on_its_node_only() -> None:
    directory = cluster()
    third = flow_uuid(START + 2_000_000, 3, node_bits(directory))
    other = flow_uuid(START + 2_000_000, 3, node_bits(directory) ^ 1)
    assert matching({"uuid": [third]}) == {"request"}
    assert matching({"uuid": [other, third.upper(), "", "x"]}) == set()


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"source_ip": ["10.1.0"]}, "10.1.0"),
    ({"source_ip": ["10.0.0.0/255.0.0.0"]}, "255"),
    ({"source_ip_xlated": ["x"]}, "x"),
    ({"destination_pod": [""]}, "destination_pod"),
    ({"source_service": [""]}, "source_service"),
    ({"source_fqdn": ["exa mple"]}, "exa mple"),
    ({"destination_fqdn": [""]}, "destination_fqdn"),
    ({"source_label": ["a in b"]}, "a in b"),
    ({"source_label": ["a=b c"]}, "a=b c"),
    ({"node_labels": ["=x"]}, "=x"),
    ({"source_cluster_name": [""]}, "source_cluster_name"),
    ({"http_status_code": ["600"]}, "600"),
    ({"http_status_code": ["404+"]}, "404+"),
    ({"protocol": ["zzz"]}, "zzz"),
    ({"source_port": ["65536"]}, "65536"),
    ({"destination_port": ["http"]}, "http"),
    ({"dns_query": ["("]}, "dns_query"),
    ({"http_path": ["(?=x)"]}, "(?=x)"),
    ({"http_url": ["[z-a]"]}, "[z-a]"),
    ({"http_method": ["GET"], "event_type": [{"type": 4}]}, "http_method"),
    ({"node_name": ["a/b/c"]}, "a/b/c"),
    ({"node_name": ["nöde"]}, "nöde"),
]


@pytest.mark.parametrize(("wanted", "named"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_a_bad_value_is_refused_by_name(wanted: dict[str, object], named: str) -> None:
    with pytest.raises(FilterError) as caught:
        matching(wanted)
    assert named in caught.value.message
    assert not isinstance(caught.value, UnsupportedFilter)


def test_node_labels_are_those_of_the_moment() -> None:
    directory = cluster()
    select = compile_filters([FlowFilter(node_labels=["zone in (a, b),!spot"])], [], directory)
    rows = sample_rows("syn")
    assert select(rows).tolist() == [False]
    directory.node_labels = ("zone=b",)
    assert select(rows).tolist() == [True]
    directory.node_labels = ("spot=", "zone=b")
    assert select(rows).tolist() == [False]


def many(**fields: list[str]) -> FlowFilter:
    return json_format.ParseDict(fields, FlowFilter())


@pytest.mark.parametrize(
    "filters",
    [
        [FlowFilter()] * 4097,
        [many(source_ip=["10.0.0.1"] * 9000)] * 2,
        [many(http_path=["a"] * 100), many(dns_query=["b"] * 29)],
        [FlowFilter(experimental={"cel_expression": ["true"] * 17})],
    ],
    ids=["filters", "values", "regular expressions", "CEL expressions"],
)
def test_what_one_request_may_ask_is_bounded(filters: list[FlowFilter]) -> None:
    with pytest.raises(FilterError, match="at most"):
        compile_filters([], filters, cluster(), messages=FlowEncoder(cluster()).encode)
    with pytest.raises(FilterError, match="at most"):
        message_filter(filters, [])


def test_a_huge_regular_expression_is_refused() -> None:
    with pytest.raises(FilterError, match="http_path") as caught:
        matching({"http_path": ["(x{1000}){1000}" + "y" * 100_000]})
    assert len(caught.value.message) < 500


def test_an_endpoint_that_appears_later_is_resolved_when_it_is_seen() -> None:
    directory = cluster()
    select = compile_filters([FlowFilter(source_pod=["pay/"])], [], directory)
    rows = sample_rows("syn", "dns")
    assert select(rows).tolist() == [False, False]
    rows["src_endpoint"][1] = directory.endpoints.index(pod("pay", "ledger-0", 500))
    assert select(rows).tolist() == [False, True]


ROUTED: list[tuple[RouteFilter, set[str]]] = [
    (RouteFilter(), ALL),
    (RouteFilter(gateway=("infra/edge",)), HTTP),
    (RouteFilter(gateway=("infra/other", "infra/edge"), listener=("http",)), HTTP),
    (RouteFilter(listener=("https",)), set()),
    (RouteFilter(route=("shop/web",)), HTTP),
    (RouteFilter(route=("HTTPRoute/shop/web",)), HTTP),
    (RouteFilter(route=("GRPCRoute/shop/web", "shop/we")), set()),
    (RouteFilter(backend=("shop/cart",)), HTTP),
    (RouteFilter(backend=("shop/cart:8080",)), HTTP),
    (RouteFilter(backend=("shop/cart:9090",)), set()),
    (RouteFilter(attribution=("name", "resolver")), HTTP),
    (RouteFilter(attribution=("none",)), ALL - HTTP),
    (RouteFilter(gateway=("infra/edge",), attribution=("none",)), set()),
]


@pytest.mark.parametrize(("wanted", "expected"), ROUTED, ids=[str(case[0]) for case in ROUTED])
def test_route_filters_travel_in_the_request(wanted: RouteFilter, expected: set[str]) -> None:
    received = route_filter(wanted.pack())
    assert received == wanted
    mask = compile_filters([], [], cluster(), received)(sample_rows())
    assert {name for name, hit in zip(SAMPLES, mask.tolist(), strict=True) if hit} == expected


@pytest.mark.parametrize(
    "wanted",
    [
        RouteFilter(gateway=("edge",)),
        RouteFilter(route=("a/b/c/d",)),
        RouteFilter(backend=("shop/cart:http",)),
        RouteFilter(attribution=("guess",)),
        RouteFilter(listener=("",)),
    ],
    ids=str,
)
def test_a_bad_route_filter_is_refused_by_name(wanted: RouteFilter) -> None:
    value = next(
        values[0]
        for values in (
            wanted.gateway,
            wanted.route,
            wanted.backend,
            wanted.attribution,
            wanted.listener,
        )
        if values
    )
    with pytest.raises(FilterError) as caught:
        compile_filters([], [], cluster(), wanted)
    assert repr(value) in caught.value.message


def test_extensions_of_another_kind_are_refused() -> None:
    packed = RouteFilter(gateway=("a/b",)).pack()
    packed.type_url = "type.googleapis.com/flow.Flow"
    with pytest.raises(FilterError, match=r"flow\.Flow"):
        route_filter(packed)
    packed.type_url = "type.googleapis.com/google.protobuf.Struct"
    packed.value = b"\xff"
    with pytest.raises(FilterError, match="Struct"):
        route_filter(packed)


@given(st.text(max_size=40))
def test_no_text_makes_a_filter_fail_in_another_way(value: str) -> None:
    for name in ("source_ip", "source_pod", "source_label", "http_path", "node_name", "protocol"):
        wanted = json_format.ParseDict({name: [value]}, FlowFilter())
        try:
            select = compile_filters([wanted], [], cluster())
        except FilterError:
            continue
        assert select(sample_rows()).shape == (len(SAMPLES),)
