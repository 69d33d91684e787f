"""Mapping from filter flags to FlowFilters, as in hubble's CLI."""

import json
import shlex
from typing import Any

import click
import pytest
from google.protobuf.json_format import MessageToDict

from flowd.commands.observe import command
from flowd.errors import UsageError
from flowd.observe.options.click_options import FILTER_ARGUMENTS
from flowd.observe.options.filters import EXCLUSIVE, build_filters
from flowd.observe.options.flags import FLAGS
from flowd.observe.options.request import field_mask, raw_filters
from flowd.wire.flow.flow_pb2 import FlowFilter


def sent(line: str) -> tuple[list[Any], list[Any]]:
    """Allowlist and denylist that a command line sends."""
    context = command.make_context("observe", shlex.split(line))
    allow, deny = build_filters(context.meta[FILTER_ARGUMENTS])
    return [_plain(one) for one in allow], [_plain(one) for one in deny]


def _plain(message: FlowFilter) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def _event(kind: int, sub_type: int | None = None) -> dict[str, Any]:
    if sub_type is None:
        return {"type": kind}
    sub = {"sub_type": sub_type} if sub_type else {}
    return {"type": kind, "match_sub_type": True} | sub


TWO_SIDED = [
    ("-n orders", "pod", ["orders/"]),
    ("-n orders -n pay", "pod", ["orders/", "pay/"]),
    ("-A", "pod", ["/"]),
    ("-n orders --pod web", "pod", ["orders/web"]),
    ("--pod web -n orders", "pod", ["orders/web"]),
    ("-n orders --pod orders/web", "pod", ["orders/web"]),
    ("-n orders -n pay --pod web", "pod", ["orders/web", "pay/web"]),
    ("-A --pod web", "pod", ["/web"]),
    ("-n orders --service cart", "service", ["orders/cart"]),
    ("--pod web", "pod", ["web"]),
    ("--pod /web", "pod", ["/web"]),
    ("--workload Deployment/", "workload", [{"kind": "Deployment"}]),
    ("--workload web", "workload", [{"name": "web"}]),
    ("--workload Deployment/web", "workload", [{"kind": "Deployment", "name": "web"}]),
    ("--identity world", "identity", [2]),
    ("--port 53", "port", ["53"]),
    ("-l app=web --label '!canary'", "label", ["app=web", "!canary"]),
    ("--fqdn '*.example.net'", "fqdn", ["*.example.net"]),
    ("--ip 10.0.0.0/8", "ip", ["10.0.0.0/8"]),
    ("--cluster prod", "cluster_name", ["prod"]),
]
ONE = [
    (
        "--from-namespace orders --to-namespace pay",
        {"source_pod": ["orders/"], "destination_pod": ["pay/"]},
    ),
    ("--from-pod a/x --to-pod b/y", {"source_pod": ["a/x"], "destination_pod": ["b/y"]}),
    ("--from-namespace a --from-pod x", {"source_pod": ["a/x"]}),
    ("--to-identity 12345", {"destination_identity": [12345]}),
    ("--to-port 53", {"destination_port": ["53"]}),
    (
        "--tcp-flags syn,ack --tcp-flags rst",
        {"tcp_flags": [{"SYN": True, "ACK": True}, {"RST": True}]},
    ),
    (
        "--type trace:to-stack --type l7 --type drop:133",
        {"event_type": [_event(4, 3), _event(129), _event(1, 133)]},
    ),
    ("--type trace:to-endpoint", {"event_type": [_event(4, 0)]}),
    ("--type drop:policy_denied -t 7", {"event_type": [_event(1, 133), _event(7)]}),
    ("--type agent:policy-updated", {"event_type": [_event(130, 5)]}),
    ("--ip-version none -4", {"ip_version": ["IP_NOT_USED", "IPv4"]}),
    ("--ipv6", {"ip_version": ["IPv6"]}),
    ("--encrypted", {"encrypted": [True]}),
    ("--unencrypted", {"encrypted": [False]}),
    ("--unencrypted=true", {"encrypted": [False]}),
    ("--interface eth0", {"interface": [{"name": "eth0"}]}),
    ("--http-header a:b:c", {"http_header": [{"key": "a", "value": "b:c"}]}),
    ("--verdict DROPPED", {"verdict": ["DROPPED"]}),
    ("--drop-reason-desc POLICY_DENIED", {"drop_reason_desc": ["POLICY_DENIED"]}),
    ("--protocol zzz", {"protocol": ["zzz"]}),
    ("--traffic-direction Egress", {"traffic_direction": ["EGRESS"]}),
    ("--snat-ip 10.0.0.1", {"source_ip_xlated": ["10.0.0.1"]}),
    ("--node-name 'prod/*'", {"node_name": ["prod/*"]}),
    ("--node-label zone=a", {"node_labels": ["zone=a"]}),
    ("--http-status 5+ --http-method get", {"http_status_code": ["5+"], "http_method": ["get"]}),
    ("--http-path ^/v1 --http-url x", {"http_path": ["^/v1"], "http_url": ["x"]}),
    ("--trace-id ab --uuid cd", {"trace_id": ["ab"], "uuid": ["cd"]}),
    ("--ip-trace-id 7", {"ip_trace_id": ["7"]}),
    ("--cel-expression true", {"experimental": {"cel_expression": ["true"]}}),
]


@pytest.mark.parametrize(("line", "field", "values"), TWO_SIDED)
def test_flags_of_both_sides_make_two_filters(line: str, field: str, values: list[Any]) -> None:
    expected = [{f"source_{field}": values}, {f"destination_{field}": values}]
    assert sent(line) == (expected, [])


@pytest.mark.parametrize(("line", "expected"), ONE)
def test_other_flags_make_one_filter(line: str, expected: dict[str, Any]) -> None:
    assert sent(line) == ([expected], [])


def test_no_flags_make_no_filter() -> None:
    assert sent("-f") == ([], [])


def test_one_sided_and_neutral_flags_are_on_both_filters() -> None:
    shared = {"source_pod": ["a/x"], "protocol": ["tcp"]}
    allow, _ = sent("--port 53 --from-pod a/x --protocol tcp")
    assert allow == [shared | {"source_port": ["53"]}, shared | {"destination_port": ["53"]}]


def test_negated_flags_make_one_pair() -> None:
    allow, deny = sent("-n a --not --pod kube-system/dns --not --port 53 --verdict DROPPED")
    assert deny == [
        {"source_pod": ["kube-system/dns"], "source_port": ["53"]},
        {"destination_pod": ["kube-system/dns"], "destination_port": ["53"]},
    ]
    assert allow == [
        {"source_pod": ["a/"], "verdict": ["DROPPED"]},
        {"destination_pod": ["a/"], "verdict": ["DROPPED"]},
    ]


def test_constants_can_be_negated() -> None:
    assert sent("--not -4 --not --encrypted") == (
        [],
        [{"ip_version": ["IPv4"], "encrypted": [True]}],
    )


@pytest.mark.parametrize(
    "line", ["--not", "--not --not --port 5", "--port 5 --not", "--not -f", "--not --route a/b"]
)
def test_not_needs_a_filter_behind_it(line: str) -> None:
    with pytest.raises(click.UsageError, match="--not"):
        sent(line)


@pytest.mark.parametrize(
    "line",
    [
        "--verdict dropped",
        "--drop-reason-desc policy_denied",
        "--type nonsense",
        "--type 256",
        "--type trace:nowhere",
        "--type drop:no_such_reason",
        "--tcp-flags syn,nak",
        "--traffic-direction up",
        "--identity nobody",
        "--identity -1",
        "--identity 4294967296",
        "--ip-trace-id 0",
        "--http-header nocolon",
        "--ip-version v5",
    ],
)
def test_values_that_the_client_knows_to_be_wrong(line: str) -> None:
    flag, value = line.split()
    with pytest.raises(UsageError) as caught:
        sent(f"{flag}={value}")
    assert caught.value.message.startswith(flag)


@pytest.mark.parametrize(
    "line",
    [
        "-n orders --pod pay/web",
        "-n orders --service pay/web",
        "--pod orders/web --service pay/cart",
        "--from-pod web --from-service pay/cart",
    ],
)
def test_names_in_other_namespaces_are_refused(line: str) -> None:
    with pytest.raises(UsageError, match="namespace"):
        sent(line)


def _with_value(name: str) -> str:
    flag = next(f for f in FLAGS if f.name == name.removeprefix("from-").removeprefix("to-"))
    return f"--{name}" if flag.constant else f"--{name}=1"


@pytest.mark.parametrize("group", EXCLUSIVE, ids=lambda group: " ".join(sorted(group)))
def test_groups_of_which_only_one_is_taken(group: frozenset[str]) -> None:
    names = sorted(group)
    for one in names:
        for other in names:
            if one < other:
                with pytest.raises(UsageError, match="cannot be used together"):
                    sent(f"{_with_value(one)} {_with_value(other)}")


def test_groups_are_hubbles() -> None:
    assert len(EXCLUSIVE) == 19
    pairs = {
        frozenset(pair.split()) for pair in ("ip pod", "to-ip to-all-namespaces", "to-pod fqdn")
    }
    assert all(any(pair <= group for group in EXCLUSIVE) for pair in pairs)
    assert sent("--from-label a --to-label b")[0] == [
        {"source_label": ["a"], "destination_label": ["b"]}
    ]


def test_negation_is_apart_in_groups() -> None:
    allow, deny = sent("--encrypted --not --unencrypted")
    assert (allow, deny) == ([{"encrypted": [True]}], [{"encrypted": [False]}])


def test_raw_filters_may_hold_several_objects() -> None:
    text = '{"source_pod":["a/"]} {"verdict":["DROPPED"]},\n{}'
    filters = raw_filters("--allowlist", [text, json.dumps({"reply": [True]})])
    assert [_plain(one) for one in filters] == [
        {"source_pod": ["a/"]},
        {"verdict": ["DROPPED"]},
        {},
        {"reply": [True]},
    ]


@pytest.mark.parametrize("text", ["x", "[1]", "1", '{"nope":1}', '{"verdict":["NO"]}', "{" * 5000])
def test_raw_filters_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--denylist"):
        raw_filters("--denylist", [text])


def test_field_masks_name_real_fields() -> None:
    assert list(field_mask(["time,source.pod_name", "l7"]).paths) == [
        "time",
        "source.pod_name",
        "l7",
    ]
    for path in ("nope", "source.nope", "time.nope", "verdict.x"):
        with pytest.raises(UsageError, match="--field-mask"):
            field_mask([path])
