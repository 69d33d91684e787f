"""Values of every field of FlowFilter, and random flows; each field matches some of them."""

from typing import Any

import numpy as np
from google.protobuf import json_format
from hypothesis import strategies as st

from flowd.model.directory import Directory
from flowd.model.records.flow import FlowRows
from flowd.wire.flow.flow_pb2 import Flow, FlowFilter
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import cluster, random_rows
from tests.support.slow_filter import EXPRESSIONS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_ADDRESSES = ("10.1.0.1", "10.1.0.2", "10.1.0.9/24", "198.51.100.7", "2001:DB8::/32", "::/0")
_PODS = ("shop/web", "shop/", "/coredns", "kube-system/", "web", "/", "default/")
_LABELS = ("app=web", "k8s:app=cart", "!app", "app!=web", "k8s:app", "reserved:world", "any:app")
_WORKLOADS: tuple[dict[str, str], ...] = (
    {"name": "web"},
    {"kind": "StatefulSet"},
    {"name": "web", "kind": "Job"},
    {},
)
_GLOBS = ("*.example", "DB.*", "api.*.net.", "*", "db.example", "example", "d*e*")
_SERVICES = ("shop/", "shop/cart", "cart", "/x", "/")
_CLUSTERS = ("default", "prod", "def*")
_IDENTITIES = (0, 2, 400, 401, 402)
VALUES: dict[str, tuple[Any, ...]] = {
    "uuid": ("#0", "#7", "#8", "", "x"),
    "source_ip": _ADDRESSES,
    "source_ip_xlated": ("192.0.2.1", "10.0.0.0/8", "::/0", "0.0.0.0/0"),
    "source_pod": _PODS,
    "source_fqdn": _GLOBS,
    "source_label": _LABELS,
    "source_service": _SERVICES,
    "source_workload": _WORKLOADS,
    "source_cluster_name": _CLUSTERS,
    "destination_ip": _ADDRESSES,
    "destination_pod": _PODS,
    "destination_fqdn": _GLOBS,
    "destination_label": _LABELS,
    "destination_service": _SERVICES,
    "destination_workload": _WORKLOADS,
    "destination_cluster_name": _CLUSTERS,
    "traffic_direction": ("INGRESS", "EGRESS", "TRAFFIC_DIRECTION_UNKNOWN"),
    "verdict": ("FORWARDED", "DROPPED", "VERDICT_UNKNOWN", "TRANSLATED"),
    "drop_reason_desc": (
        "POLICY_DENIED",
        "DROP_REASON_UNKNOWN",
        "POLICY_DENY",
        "DROP_RATE_LIMITED",
    ),
    "interface": ({"name": "eth0"}, {"index": 3}, {"index": 3, "name": "eth0"}, {}, {"index": 9}),
    "event_type": (
        {"type": 4},
        {"type": 1},
        {"type": 4, "match_sub_type": True, "sub_type": 3},
        {"match_sub_type": True},
        {"type": 1, "match_sub_type": True, "sub_type": 133},
        {"type": 130},
        {},
    ),
    "http_status_code": ("503", "4+", "20+", "100"),
    "protocol": ("tcp", "UDP", "icmp", "ICMPv4", "icmpv6", "http", "dns", "sctp", "vrrp", "igmp"),
    "source_port": ("40000", "53311", "0", "08080"),
    "destination_port": ("8080", "53", "0", "65535"),
    "reply": (True, False),
    "dns_query": ("^api", "net", "x$", r"\.$"),
    "source_identity": _IDENTITIES,
    "destination_identity": _IDENTITIES,
    "http_method": ("get", "POST", ""),
    "http_path": ("^/cart", "x=1", "items$", "^/a b$"),
    "http_url": ("^https", r"shop\.example", "x=1", "^$"),
    "http_header": (
        {"key": "x-team", "value": "blue"},
        {"key": "X-Team", "value": "blue"},
        {"key": "x-team", "value": ""},
        {"key": "x-request-id", "value": "r-1"},
    ),
    "tcp_flags": ({"SYN": True}, {"ACK": True, "PSH": True}, {}, {"NS": True}, {"CWR": True}),
    "node_name": ("node-*", "node-b", "prod/", "default/node-a", "/", "*/NODE-A", "a*"),
    "node_labels": ("zone=a", "!zone", "zone", "spot"),
    "ip_version": ("IPv4", "IPv6", "IP_NOT_USED"),
    "trace_id": (TRACE, "4bf9", ""),
    "ip_trace_id": ("7", "0"),
    "encrypted": (True, False),
    "experimental": tuple(EXPRESSIONS),
}
"""Values by field; uuid `#n` stands for the id of the n-th flow."""


def filter_of(fields: dict[str, Any]) -> FlowFilter:
    """A FlowFilter with some VALUES of each named field."""
    fields = dict(fields)
    if "experimental" in fields:
        fields["experimental"] = {"cel_expression": fields["experimental"]}
    return json_format.ParseDict(fields, FlowFilter())


def _filters(*without: str) -> st.SearchStrategy[dict[str, Any]]:
    """At most four fields, each with at most three values."""
    names = st.lists(
        st.sampled_from([name for name in VALUES if name not in without]), max_size=4, unique=True
    )
    return names.flatmap(
        lambda chosen: st.fixed_dictionaries(
            {
                name: st.lists(st.sampled_from(VALUES[name]), min_size=1, max_size=3)
                for name in chosen
            }
        )
    )


_HTTP = [name for name in VALUES if name.startswith("http_")]
FILTERS = st.lists(st.one_of(_filters("event_type"), _filters(*_HTTP)).map(filter_of), max_size=3)


def with_uuids(filters: list[FlowFilter], flows: list[Flow]) -> list[FlowFilter]:
    """The filters with `#n` replaced by the n-th flow's id."""
    for one in filters:
        uuids = [flows[int(value[1:])].uuid if value[:1] == "#" else value for value in one.uuid]
        one.ClearField("uuid")
        one.uuid.extend(uuids)
    return filters


def varied(seed: int, count: int = 60) -> tuple[Directory, FlowRows, list[Flow]]:
    """A directory, random flows in it, and their messages."""
    rng = np.random.default_rng(seed)
    directory = cluster(("default", "prod", "")[seed % 3])
    directory.node_labels = ((), ("zone=a",), ("k8s:zone=b", "spot="))[seed // 3 % 3]
    rows = random_rows(count, seed)
    plain = (rows["l7_type"] == 0) & (rows["type"] == 1)

    def some(share: float) -> Any:
        return plain & (rng.random(count) < share)

    rows["ifindex"] = rng.choice([0, 2, 3, 9], count)
    other = some(0.3)
    rows["protocol"][other] = rng.choice([1, 2, 58, 112, 132, 99], int(other.sum()))
    rows["family"][some(0.1)] = 0
    dropped = some(0.2)
    rows["event_type"][dropped], rows["verdict"][dropped] = 1, 2
    rows["sub_type"][dropped] = rng.choice([0, 2, 133, 181], int(dropped.sum()))
    rows["src_port"][rng.random(count) < 0.1] = 0
    http = rows["l7_protocol"] == 1
    for column, value in {
        "trace_id": "0" * 31 + "1",
        "url": "https://shop.example/a%20b",
        "method": "POST",
        "headers": {"x-team": ""},
    }.items():
        rows[column][http & (rng.random(count) < 0.3)] = value
    rows["url"][http & (rng.random(count) < 0.1)] = None
    return directory, rows, list(FlowEncoder(directory).encode(rows))
