"""FlowEncoder and FlowJson: golden lines, and equal JSON from both."""

import json
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd import __version__
from flowd.model.records.dns import Dns
from flowd.wire.flow.flow_pb2 import Flow
from flowd.wire.json import flow_to_json, timestamp
from flowd.wire.observer.observer_pb2 import ExportEvent
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from flowd_exporters.hubble.encode.json_line import FlowJson
from tests.support.flow_samples import cluster, random_rows, sample_rows


def encoded(*names: str, cluster_name: str = "default") -> list[Flow]:
    return list(FlowEncoder(cluster(cluster_name)).encode(sample_rows(*names)))


GOLDEN_SYN = (
    '{"time":"2026-11-21T09:15:00Z","uuid":"UUID",'
    '"emitter":{"name":"Flowd","version":"VERSION"},"verdict":"FORWARDED",'
    '"IP":{"source":"10.1.0.1","destination":"10.1.0.2","ipVersion":"IPv4"},'
    '"l4":{"TCP":{"source_port":40000,"destination_port":8080,"flags":{"SYN":true}}},'
    '"source":{"ID":1,"identity":400,"cluster_name":"prod","namespace":"shop","labels":'
    '["k8s:app=web","k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"web-7f",'
    '"workloads":[{"name":"web","kind":"Deployment"}]},'
    '"destination":{"ID":2,"identity":401,"cluster_name":"prod","namespace":"shop","labels":'
    '["k8s:app=cart","k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"cart-0",'
    '"workloads":[{"name":"cart","kind":"StatefulSet"}]},'
    '"Type":"L3_L4","node_name":"prod/node-a","event_type":{"type":4,"sub_type":3},'
    '"destination_service":{"name":"cart","namespace":"shop"},"traffic_direction":"EGRESS",'
    '"trace_observation_point":"TO_STACK","is_reply":false,'
    '"interface":{"index":2,"name":"eth0"},"Summary":"TCP Flags: SYN",'
    '"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct",'
    '"value":{"bytes":74,"packets":1}}}'
)

GOLDEN_RESPONSE = (
    '{"time":"2026-11-21T09:15:00Z","uuid":"UUID",'
    '"emitter":{"name":"Flowd","version":"VERSION"},"verdict":"FORWARDED",'
    '"IP":{"source":"10.1.0.2","destination":"198.51.100.7","ipVersion":"IPv4"},'
    '"l4":{"TCP":{"source_port":8080,"destination_port":61000}},'
    '"source":{"ID":2,"identity":401,"cluster_name":"default","namespace":"shop","labels":'
    '["k8s:app=cart","k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"cart-0",'
    '"workloads":[{"name":"cart","kind":"StatefulSet"}]},'
    '"destination":{"identity":2,"labels":["reserved:world"]},'
    '"Type":"L7","node_name":"node-a","l7":{"type":"RESPONSE","latency_ns":"18700000","http":'
    '{"code":503,"method":"GET","url":"http://shop.example/cart/items?x=1\\u0026y=\\u003cb\\u003e",'
    '"protocol":"HTTP/1.1","headers":[{"key":"x-team","value":"blue"},'
    '{"key":"x-request-id","value":"r-1"}]}},"reply":true,"event_type":{"type":129},'
    '"source_service":{"name":"cart","namespace":"shop"},"traffic_direction":"EGRESS",'
    '"is_reply":true,'
    '"trace_context":{"parent":{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}},'
    '"Summary":"HTTP/1.1 503 18ms (GET http://shop.example/cart/items?x=1\\u0026y=\\u003cb\\u003e)",'
    '"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":'
    '{"attribution":"name","backend":"shop/cart:8080","gateway":"infra/edge","listener":"http",'
    '"match":0,"response_flags":["UH"],"route":"HTTPRoute/shop/web","rule":1,"rule_name":"items"}}}'
)


@pytest.mark.parametrize(
    ("name", "cluster_name", "golden"),
    [("syn", "prod", GOLDEN_SYN), ("response", "default", GOLDEN_RESPONSE)],
)
def test_golden_json(name: str, cluster_name: str, golden: str) -> None:
    (flow,) = encoded(name, cluster_name=cluster_name)
    expected = golden.replace("UUID", flow.uuid).replace("VERSION", __version__)
    assert flow_to_json(flow) == expected


SUMMARIES = {
    "syn": "TCP Flags: SYN",
    "synack": "TCP Flags: SYN, ACK",
    "request": "HTTP/1.1 GET http://shop.example/cart/items?x=1&y=<b>",
    "response": "HTTP/1.1 503 18ms (GET http://shop.example/cart/items?x=1&y=<b>)",
    "dns": "UDP",
    "ping": "ICMPv4 EchoRequest",
    "service": "TCP Flags: ACK, PSH",
    "query": "DNS Query api.example.net. A",
    "answer": 'DNS Answer "198.51.100.9" CNAMEs: "edge.example.net." TTL: 30 '
    "(Query api.example.net. A)",
    "socket": "TCP",
}


def test_summaries() -> None:
    assert [flow.Summary for flow in encoded(*SUMMARIES)] == list(SUMMARIES.values())


def test_a_name_that_does_not_exist() -> None:
    rows = sample_rows("answer")
    rows["dns"][0] = Dns("nope.example.", "AAAA", 3)
    (flow,) = FlowEncoder(cluster()).encode(rows)
    assert flow.Summary == "DNS Answer RCode: Non-Existent Domain TTL: 0 (Query nope.example. AAAA)"


def test_what_dns_messages_carry() -> None:
    query, answer = encoded("query", "answer")
    assert json_format.MessageToDict(answer.l7, preserving_proto_field_name=True) == {
        "type": "RESPONSE",
        "latency_ns": "2000000",
        "dns": {
            "query": "api.example.net.",
            "ips": ["198.51.100.9"],
            "ttl": 30,
            "cnames": ["edge.example.net."],
            "observation_source": "packet",
            "qtypes": ["A"],
            "rrtypes": ["CNAME", "A"],
        },
    }
    assert (query.l7.type, query.l7.dns.query, query.l4.UDP.destination_port) == (
        1,
        "api.example.net.",
        53,
    )
    assert extension(query) == {"dns_type": "QUERY"}
    assert extension(answer) == {"dns_type": "RESPONSE", "num_responses": 1}


def test_what_a_translated_socket_carries() -> None:
    (flow,) = encoded("socket")
    assert (flow.Type, flow.verdict, flow.sock_xlate_point) == (3, 7, 2)
    assert (flow.socket_cookie, flow.cgroup_id) == (99, 78)
    assert not flow.l4.TCP.HasField("flags")
    assert extension(flow) == {
        "source_pid": 4242,
        "source_command": "curl",
        "translation": {
            "destination_before": "10.96.0.9:80",
            "destination_after": "10.1.0.2:8080",
        },
    }


def test_what_a_connection_to_the_outside_carries() -> None:
    (flow,) = encoded("outside")
    assert list(flow.destination_names) == ["api.example.net"]
    assert (flow.IP.source, flow.IP.source_xlated) == ("10.1.0.1", "192.0.2.1")
    assert (flow.tunnel.protocol, flow.tunnel.vni) == (1, 5)
    assert (flow.tunnel.IP.source, flow.tunnel.IP.destination) == ("192.0.2.1", "192.0.2.2")
    assert flow.tunnel.l4.HasField("UDP")
    assert (flow.socket_cookie, flow.cgroup_id) == (2**60, 77)
    assert extension(flow) == {
        "bytes": 1500,
        "packets": 9,
        "connect_us": 900,
        "source_rtt_us": 400,
        "source_retransmits": 2,
        "source_pid": 4243,
        "source_command": "nginx",
        "source_container_id": "c0ffee",
        "source_pod_uid": "pod-1",
        "translation": {
            "source_before": "10.1.0.1:40002",
            "source_after": "192.0.2.1:61234",
        },
    }


def test_replies_turn_tunnel_and_translation_round() -> None:
    rows = sample_rows("outside")
    rows["is_reply"], rows["tunnel"] = 1, 2
    (flow,) = FlowEncoder(cluster()).encode(rows)
    assert (flow.tunnel.IP.source, flow.tunnel.IP.ipVersion) == ("2001:db8::b", 2)
    assert flow.IP.source_xlated == ""
    rows["tunnel"] = 3
    (flow,) = FlowEncoder(cluster()).encode(rows)
    assert (flow.tunnel.protocol, flow.tunnel.HasField("l4")) == (0, False)


def extension(flow: Flow) -> Any:
    struct = struct_pb2.Struct()
    assert flow.extensions.Unpack(struct)
    return json_format.MessageToDict(struct)


def test_what_a_drop_carries() -> None:
    (flow,) = encoded("drop")
    assert (flow.drop_reason, flow.drop_reason_desc) == (133, 133)
    assert not flow.HasField("is_reply")
    assert flow.IP.source == "2001:db8::7"
    assert flow.source.identity == 2


def test_a_service_address_has_a_service_and_no_pod() -> None:
    (flow,) = encoded("service")
    assert flow.destination_service.name == "cart"
    assert (flow.destination.namespace, flow.destination.pod_name) == ("shop", "")
    assert not flow.HasField("source_service")


def test_extensions_unpack_as_a_struct() -> None:
    flow = encoded("response")[0]
    struct = struct_pb2.Struct()
    assert flow.extensions.Unpack(struct)
    assert json_format.MessageToDict(struct) == {
        "gateway": "infra/edge",
        "listener": "http",
        "route": "HTTPRoute/shop/web",
        "rule": 1,
        "match": 0,
        "rule_name": "items",
        "backend": "shop/cart:8080",
        "attribution": "name",
        "response_flags": ["UH"],
    }
    assert not encoded("dns")[0].HasField("extensions")


def test_uuids_are_unique_and_of_version_7() -> None:
    flows = list(FlowEncoder(cluster()).encode(random_rows(500, 3)))
    assert len({flow.uuid for flow in flows}) == 500
    assert all(flow.uuid[14] == "7" and flow.uuid[19] in "89ab" for flow in flows)


def as_protobuf_says(event: ExportEvent) -> Any:
    return json_format.MessageToDict(event, preserving_proto_field_name=True)


def export_event(flow: Flow) -> ExportEvent:
    return ExportEvent(flow=flow, node_name=flow.node_name, time=flow.time)


TEXTS = st.text(max_size=12) | st.sampled_from(["\ud800", 'a"\\\n<&>\u2028', "http://h/é"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(TEXTS, min_size=6, max_size=6))
def test_direct_json_equals_the_message_s(seed: int, texts: list[str]) -> None:
    directory = cluster(texts[0] or "default")
    rng = np.random.default_rng(seed)
    rows = random_rows(20, seed)
    for column in (
        *("event_type", "sub_type", "observation", "http_version", "type", "protocol"),
        *("l7_protocol", "nat", "dst_srtt_us", "dst_retransmits", "dst_pid"),
    ):
        strange = rng.random(20) < 0.2
        rows[column][strange] = rng.integers(0, 256, 20)[strange]
    for column, value in zip(("method", "url", "request_id", "trace_id"), texts[1:], strict=False):
        rows[column][rng.random(20) < 0.5] = value
    rows["headers"] = [{texts[1]: texts[2], "k": ""}] * 20
    rows["packets"] = rng.integers(0, 2**50, 20)
    rows["envoy_flags"] = rng.integers(0, 2**28, 20)
    rows["tunnel"], rows["dst_process"] = rng.integers(0, 3, (2, 20))
    rows["src_name"][:5], rows["dns"][5:9] = texts[3], Dns(texts[4], texts[5], 3, (texts[1],))
    directory.node_labels = ("zone=a", texts[2])
    directory.sampling = seed % 3 + 1
    lines = list(FlowJson(directory).events(rows))
    events = [export_event(flow) for flow in FlowEncoder(directory).encode(rows)]
    assert lines == [flow_to_json(event) for event in events]
    assert [json.loads(line) for line in lines] == [as_protobuf_says(event) for event in events]


def test_messages_survive_the_wire() -> None:
    for flow in encoded():
        assert Flow.FromString(flow.SerializeToString()) == flow


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.500Z"),
        (1_000_001_000, "1970-01-01T00:00:01.000001Z"),
        (1_000_000_001, "1970-01-01T00:00:01.000000001Z"),
    ],
)
def test_times_have_three_six_or_nine_digits(nanoseconds: int, text: str) -> None:
    assert timestamp(nanoseconds) == text


def test_json_of_every_kind_of_value() -> None:
    flow = Flow(socket_cookie=2**63, drop_reason=7, source_names=["a", "b"])
    flow.event_type.SetInParent()
    flow.tunnel.IP.encrypted = True
    flow.extensions.type_url = "type.googleapis.com/private.Type"
    flow.extensions.value = b"\x00\x01"
    flow.MergeFromString(b"\x10\x63")  # verdict 99
    assert json.loads(flow_to_json(flow)) == {
        "verdict": 99,
        "drop_reason": 7,
        "tunnel": {"IP": {"encrypted": True}},
        "source_names": ["a", "b"],
        "event_type": {},
        "socket_cookie": str(2**63),
        "extensions": {"@type": "type.googleapis.com/private.Type", "value": "AAE="},
    }
