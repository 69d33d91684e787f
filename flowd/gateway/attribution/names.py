"""Parse Envoy route and cluster names in the formats of the Gateway API implementations.

A name is accepted only when every part of it is a valid Kubernetes name, so the results are
printable and short whatever an untrusted log contains.
"""

import re
from dataclasses import dataclass

from flowd.gateway.matching.backend import ServicePortRef
from flowd.gateway.matching.rules import RouteKey

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"
_KIND = r"(?P<kind>httproute|grpcroute|tlsroute|tcproute|udproute)"
_ROUTE = rf"{_KIND}/(?P<ns>{_LABEL})/(?P<name>{_NAME})"

_EG_ROUTE = re.compile(
    rf"{_ROUTE}/rule/(?P<rule>[0-9]{{1,4}})/match/(?P<match>-1|[0-9]{{1,4}})(?:/[^/]{{0,255}})?"
)
_EG_CLUSTER = re.compile(
    rf"{_ROUTE}/rule/(?P<rule>-1|[0-9]{{1,4}})(?:/backend/(?P<backend>[0-9]{{1,4}}))?"
)
_EG_STREAM = re.compile(_ROUTE)
_ISTIO_ROUTE = re.compile(rf"(?P<ns>{_LABEL})\.(?P<name>{_NAME})\.(?P<rule>[0-9]{{1,4}})")
_KGATEWAY_ROUTE = re.compile(
    rf".{{0,512}}-route-[0-9]{{1,5}}-(?P<kind>httproute|grpcroute)-(?P<both>{_NAME})"
    r"-(?P<rule>[0-9]{1,4})-(?P<match>[0-9]{1,4})-matcher-[0-9]{1,4}"
)
_SERVICES = [
    re.compile(
        rf"outbound\|(?P<port>[0-9]{{1,5}})\|[^|]{{0,63}}\|(?P<name>{_LABEL})\.(?P<ns>{_LABEL})\.svc\..+"
    ),
    re.compile(
        rf"service/(?P<ns>{_LABEL})/(?P<name>{_LABEL})/(?P<port>[0-9]{{1,5}})(?:/[a-z0-9]+)?"
    ),
    re.compile(
        rf"{_LABEL}/cilium-gateway-{_NAME}/(?P<ns>{_LABEL}):(?P<name>{_LABEL}):(?P<port>[0-9]{{1,5}})"
    ),
    re.compile(rf"kube_(?P<ns>{_LABEL})_(?P<name>{_LABEL})_(?P<port>[0-9]{{1,5}})"),
    re.compile(rf"(?P<ns>{_LABEL})/(?P<name>{_LABEL})/(?P<port>[0-9]{{1,5}})/[0-9a-f]{{10}}"),
]
"""Cluster names of Istio, Envoy Gateway with mergeBackends, Cilium, kgateway and Contour."""

_CILIUM_CLUSTER = re.compile(rf"(?P<ns>{_LABEL})/cilium-gateway-(?P<gw>{_NAME})/[^/]{{0,255}}")
_GATEWAY = re.compile(rf"{_LABEL}/{_NAME}")

_KINDS = {
    "httproute": "HTTPRoute",
    "grpcroute": "GRPCRoute",
    "tlsroute": "TLSRoute",
    "tcproute": "TCPRoute",
    "udproute": "UDPRoute",
}


@dataclass(frozen=True, slots=True)
class RouteName:
    """A route parsed from a name.

    Attributes:
        rule, match, backend: indices; -1 when the name does not contain them.
        certain: False where the format also fits names with another meaning.
    """

    key: RouteKey
    rule: int = -1
    match: int = -1
    backend: int = -1
    certain: bool = True


def route_names(text: str) -> list[RouteName]:
    """Candidate routes for an Envoy route name; empty when no known format fits.

    kgateway joins name and namespace with a hyphen, and Istio's names lack the kind: both give
    several candidates.
    """
    if found := _EG_ROUTE.fullmatch(text):
        # The implicit match of a rule without matches is number -1 here and 0 elsewhere.
        return [RouteName(_key(found), int(found["rule"]), max(int(found["match"]), 0))]
    if found := _ISTIO_ROUTE.fullmatch(text):
        return [
            RouteName((kind, found["ns"], found["name"]), int(found["rule"]), certain=False)
            for kind in ("HTTPRoute", "GRPCRoute")
        ]
    if found := _KGATEWAY_ROUTE.fullmatch(text):
        parts = found["both"].split("-")
        pairs = (("-".join(parts[:at]), "-".join(parts[at:])) for at in range(1, len(parts)))
        kind, rule, match = _KINDS[found["kind"]], int(found["rule"]), int(found["match"])
        return [
            RouteName((kind, namespace, name), rule, match, certain=False)
            for name, namespace in pairs
        ]
    return []


def cluster_route(text: str) -> RouteName | None:
    """Route and rule in the name of an Envoy Gateway cluster or filter chain, or None."""
    if found := _EG_CLUSTER.fullmatch(text):
        return RouteName(_key(found), int(found["rule"]), -1, int(found["backend"] or -1))
    if found := _EG_STREAM.fullmatch(text):
        return RouteName(_key(found))
    return None


def cluster_service(text: str) -> ServicePortRef | None:
    """Service and port in a cluster name, or None when no known format fits."""
    for pattern in _SERVICES:
        if found := pattern.fullmatch(text):
            return ServicePortRef(found["ns"], found["name"], int(found["port"]))
    return None


def cluster_gateway(text: str) -> str:
    """`namespace/name` of the Gateway in the name of a Cilium cluster, or ""."""
    found = _CILIUM_CLUSTER.fullmatch(text) if "/cilium-gateway-" in text else None
    return f"{found['ns']}/{found['gw']}" if found else ""


def gateway_name(text: str) -> str:
    """`namespace/name` of the Gateway when Envoy's node cluster has that form, or ""."""
    return text if len(text) <= 320 and _GATEWAY.fullmatch(text) else ""


def _key(found: re.Match[str]) -> RouteKey:
    return _KINDS[found["kind"]], found["ns"], found["name"]
