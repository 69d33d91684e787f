"""Command lines of `tests.hubble.transcript`: plain ones, and one for every filter flag."""

from collections.abc import Callable, Iterator
from typing import Any

PLAIN = (
    "status",
    "status -o dict",
    "status -o table",
    "status -o json",
    "list nodes",
    "list nodes -o wide",
    "list nodes -o json",
    "list namespaces",
    "list namespaces -o wide",
    "list namespaces -o json",
    "watch peers",
    "reflect",
    "observe --last 3",
    "observe --last 2 -o compact --print-node-name",
    "observe --last 1 -o dict",
    "observe --last 2 -o table --print-node-name",
    "observe --last 1 -o json",
    "observe --last 1 -o jsonpb",
    "observe --last 1 -o json --field-mask time,verdict,source.pod_name",
    "observe --last 1 --numeric",
    "observe --last 1 --ip-translation=false",
    "observe --last 1 --print-policy-names",
    "observe --last 1 --time-format RFC3339Nano",
    "observe --last 1 --use-default-field-masks=false",
    "observe --first 2",
    "observe --since 5s --until 4s --protocol http",
    "observe -f --protocol http",
    "observe --type drop --last 2",
    "observe --type trace-sock --last 2",
    "observe --protocol dns --last 2",
    "observe --print-raw-filters -n default --not --http-status 200",
    "observe --http-path '('",
    "observe agent-events --last 3",
    "observe agent-events --last 1 -o json",
    "observe debug-events",
)
"""Command lines for a server without TLS."""

OTHERS = ("status", "list namespaces", "watch peers", "observe --last 1")
"""Command lines for servers on a unix socket or with TLS."""

ENDLESS = ("watch peers", "observe -f --protocol http")

_FLAGS = ("tcp", "udp", "icmp", "http", "dns")


def filters(flows: list[dict[str, Any]]) -> Iterator[str]:
    """Every filter flag, with a value from the flows or else one that no flow has."""
    for name, path in _SIDED.items():
        for prefix, sides in (("", ("source",)), ("from-", ("source",)), ("to-", ("destination",))):
            value = next(filter(None, (path(flow, side) for flow in flows for side in sides)), "")
            yield f"--{prefix}{name} {value or _ABSENT.get(name, 'none')}"
    yield from ("-A", "--from-all-namespaces", "--to-all-namespaces", "-4", "-6", "--encrypted")
    yield from ("--unencrypted", "--snat-ip 10.0.0.0/8", "--node-label zone=a", "--node-name vm")
    yield from (f"--protocol {name}" for name in _FLAGS)
    yield from ("--type trace", "--type trace:to-endpoint", "--type l7", "--type drop")
    yield from ("--type trace-sock", "--verdict FORWARDED", "--verdict DROPPED")
    yield from ("--verdict TRANSLATED", "--drop-reason-desc POLICY_DENIED", "--tcp-flags syn")
    yield from ("--tcp-flags syn,ack", "--traffic-direction ingress", "--ip-version v4")
    yield from ("--ip-version none", "--http-status 200", "--http-status 5+", "--http-method get")
    yield from ("--http-path ^/log", "--http-url echo", "--ip-trace-id 1")
    yield "--cel-expression '_flow.verdict == 1'"
    yield f"--interface {_first(flows, 'interface', 'name') or 'eth0'}"
    yield f"--uuid {_first(flows, 'uuid')}"
    yield f"--trace-id {_first(flows, 'trace_context', 'parent', 'trace_id') or '0' * 32}"
    for flow in flows:
        for header in flow.get("l7", {}).get("http", {}).get("headers", []):
            if header["key"] == ":authority" or header["key"] == "user-agent":
                yield f"--http-header '{header['key']}:{header['value']}'"
                return


def _first(flows: list[dict[str, Any]], *path: str) -> str:
    for flow in flows:
        value: Any = flow
        for key in path[:-1]:
            value = value.get(key, {})
        if last := value.get(path[-1]):
            return str(last)
    return ""


def _pod(flow: dict[str, Any], side: str) -> str:
    end: dict[str, Any] = flow.get(side, {})
    return f"{end.get('namespace', '')}/{end['pod_name']}" if end.get("pod_name") else ""


def _workload(flow: dict[str, Any], side: str) -> str:
    return next((one["name"] for one in flow.get(side, {}).get("workloads", [])), "")


def _label(flow: dict[str, Any], side: str) -> str:
    return next((one for one in flow.get(side, {}).get("labels", []) if "app=" in one), "")


def _service(flow: dict[str, Any], side: str) -> str:
    service: dict[str, Any] = flow.get(f"{side}_service", {})
    return f"{service.get('namespace', '')}/{service['name']}" if service.get("name") else ""


def _port(flow: dict[str, Any], side: str) -> str:
    layer: dict[str, dict[str, Any]] = flow.get("l4", {})
    header = next(iter(layer.values()), dict[str, Any]())
    return str(header.get(f"{side}_port", "")) if header.get(f"{side}_port") != 53 else ""


_SIDED: dict[str, Callable[[dict[str, Any], str], str]] = {
    "namespace": lambda flow, side: flow.get(side, {}).get("namespace", ""),
    "pod": _pod,
    "service": _service,
    "workload": _workload,
    "label": _label,
    "ip": lambda flow, side: flow.get("IP", {}).get(side, ""),
    "fqdn": lambda flow, side: next(iter(flow.get(f"{side}_names", [])), ""),
    "port": _port,
    "identity": lambda flow, side: str(flow.get(side, {}).get("identity", "")),
    "cluster": lambda flow, side: flow.get(side, {}).get("cluster_name", ""),
}
_ABSENT = {"fqdn": "'*.example'", "service": "default/none", "cluster": "default"}
