"""Our protos have the published field numbers, in every message that clients read."""

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from flowd.wire.flow import flow_pb2 as flow
from flowd.wire.observer import observer_pb2 as observer
from flowd.wire.peer import peer_pb2 as peer
from flowd.wire.relay import relay_pb2 as relay

NUMBERS: list[tuple[type[Message], dict[str, int]]] = [
    (
        flow.Flow,
        {"time": 1, "verdict": 2, "drop_reason": 3, "ethernet": 4, "IP": 5, "l4": 6, "source": 8}
        | {"destination": 9, "Type": 10, "node_name": 11, "source_names": 13, "l7": 15, "reply": 16}
        | {"destination_names": 14, "event_type": 19, "source_service": 20}
        | {"destination_service": 21, "traffic_direction": 22, "policy_match_type": 23}
        | {"trace_observation_point": 24, "drop_reason_desc": 25, "is_reply": 26}
        | {"debug_capture_point": 27, "interface": 28, "proxy_port": 29, "trace_context": 30}
        | {"sock_xlate_point": 31, "socket_cookie": 32, "cgroup_id": 33, "uuid": 34}
        | {"auth_type": 35, "trace_reason": 36, "node_labels": 37, "file": 38, "tunnel": 39}
        | {"ip_trace_id": 40, "emitter": 41, "Summary": 100000, "extensions": 150000}
        | {"egress_allowed_by": 21001, "ingress_allowed_by": 21002, "egress_denied_by": 21004}
        | {"ingress_denied_by": 21005, "policy_log": 21006, "aggregate": 21007},
    ),
    (
        flow.FlowFilter,
        {"source_ip": 1, "source_pod": 2, "destination_ip": 3, "destination_pod": 4, "verdict": 5}
        | {"event_type": 6, "source_fqdn": 7, "destination_fqdn": 8, "http_status_code": 9}
        | {"source_label": 10, "destination_label": 11, "protocol": 12, "source_port": 13}
        | {"destination_port": 14, "reply": 15, "source_service": 16, "destination_service": 17}
        | {"dns_query": 18, "source_identity": 19, "destination_identity": 20, "http_method": 21}
        | {"http_path": 22, "tcp_flags": 23, "node_name": 24, "ip_version": 25}
        | {"source_workload": 26, "destination_workload": 27, "trace_id": 28, "uuid": 29}
        | {"traffic_direction": 30, "http_url": 31, "http_header": 32, "drop_reason_desc": 33}
        | {"source_ip_xlated": 34, "interface": 35, "node_labels": 36, "source_cluster_name": 37}
        | {"destination_cluster_name": 38, "ip_trace_id": 39, "encrypted": 40}
        | {"experimental": 999},
    ),
    (
        flow.Endpoint,
        {"ID": 1, "identity": 2, "namespace": 3, "labels": 4, "pod_name": 5, "workloads": 6}
        | {"cluster_name": 7},
    ),
    (
        flow.IP,
        {"source": 1, "destination": 2, "ipVersion": 3, "encrypted": 4, "source_xlated": 5},
    ),
    (flow.Layer7, {"type": 1, "latency_ns": 2, "dns": 100, "http": 101, "kafka": 102}),
    (flow.HTTP, {"code": 1, "method": 2, "url": 3, "protocol": 4, "headers": 5}),
    (
        flow.LostEvent,
        {"source": 1, "num_events_lost": 2, "cpu": 3, "first": 4, "last": 5},
    ),
    (
        observer.GetFlowsRequest,
        {"number": 1, "follow": 3, "blacklist": 5, "whitelist": 6, "since": 7, "until": 8}
        | {"first": 9, "field_mask": 10, "experimental": 999, "extensions": 150000},
    ),
    (
        observer.GetFlowsResponse,
        {"flow": 1, "node_status": 2, "lost_events": 3, "node_name": 1000, "time": 1001},
    ),
    (
        observer.ServerStatusResponse,
        {"num_flows": 1, "max_flows": 2, "seen_flows": 3, "uptime_ns": 4, "version": 8}
        | {"num_connected_nodes": 5, "num_unavailable_nodes": 6, "unavailable_nodes": 7}
        | {"flows_rate": 9},
    ),
    (
        observer.Node,
        {"name": 1, "version": 2, "address": 3, "state": 4, "tls": 5, "uptime_ns": 6}
        | {"num_flows": 7, "max_flows": 8, "seen_flows": 9},
    ),
    (peer.ChangeNotification, {"name": 1, "address": 2, "type": 3, "tls": 4}),
    (relay.NodeStatusEvent, {"state_change": 1, "node_names": 2, "message": 3}),
]


@pytest.mark.parametrize(("message", "numbers"), NUMBERS, ids=lambda value: str(value)[:40])
def test_field_numbers(message: type[Message], numbers: dict[str, int]) -> None:
    actual = {name: field.number for name, field in message.DESCRIPTOR.fields_by_name.items()}
    assert actual == numbers


def test_descriptors_keep_the_file_names_that_reflection_clients_know() -> None:
    files = [module.DESCRIPTOR.name for module in (flow, observer, peer, relay)]
    assert files == [
        "flow/flow.proto",
        "observer/observer.proto",
        "peer/peer.proto",
        "relay/relay.proto",
    ]


def test_fields_are_declared_in_the_order_of_json_keys() -> None:
    names = [field.name for field in flow.Flow.DESCRIPTOR.fields]
    assert names[:6] == ["time", "uuid", "emitter", "verdict", "drop_reason", "auth_type"]
    assert names.index("Summary") < names.index("extensions") < names.index("egress_allowed_by")
    assert [field.name for field in flow.Endpoint.DESCRIPTOR.fields][2] == "cluster_name"


def test_enum_numbers_that_are_out_of_line() -> None:
    assert flow.TO_ENDPOINT == 101
    assert flow.CT_MISSING_TCP_ACK_FLAG == 136
    assert flow.DROP_PUNT_PROXY == 205
    assert len(flow.DropReason.values()) == 76
    assert flow.AGENT_STARTED == 2
    assert flow.Flow.DESCRIPTOR.fields_by_name["l4"].type == FieldDescriptor.TYPE_MESSAGE
