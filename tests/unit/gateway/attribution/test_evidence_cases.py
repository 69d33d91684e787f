"""Attribution without names: mesh routes, reversed rewrites, unknown ports."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.gateway.attribution.attribute import Attributor
from flowd.kubernetes.manifests import load_manifests
from flowd.model.address import pack
from flowd.model.directory import Directory
from flowd.model.enums import Attribution, EntryKind
from flowd.model.losses import Losses
from flowd.model.records.request import empty_requests
from flowd.model.route import BackendRef, RouteRef

ROUTES = Path(__file__).parents[3] / "data" / "routes"
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: n}}
spec: {{clusterIP: 10.1.0.{at}, ports: [{{name: p, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: n, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: [10.2.0.{at}], conditions: {{ready: true}}}}]
ports: [{{name: p, port: 8080}}]
---
"""
REWRITES = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: n}
spec:
  gatewayClassName: x
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: udp, port: 53, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: n}
spec:
  parentRefs: [{name: gw}]
  hostnames: [h.example]
  rules:
  - matches: [{path: {value: /v1}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /in}}}]
    backendRefs: [{name: one, port: 80, weight: 3}]
  - matches: [{path: {value: /v2}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /in}}}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {value: /v3}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /in}}}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {value: /whole}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}}]
    backendRefs: [{name: one, port: 80}]
  - matches: [{path: {value: /host}}]
    filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example}}]
    backendRefs: [{name: one, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other, namespace: n}
spec:
  parentRefs: [{name: gw}]
  hostnames: [h.example]
  rules:
  - matches: [{path: {value: /x}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}}]
    backendRefs: [{name: three, port: 80}]
  - matches: [{path: {value: /y}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /both}}}]
    backendRefs: [{name: three, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: third, namespace: n}
spec:
  parentRefs: [{name: gw}]
  hostnames: [h.example]
  rules:
  - matches: [{path: {value: /z}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /both}}}]
    backendRefs: [{name: three, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: dns, namespace: n}
spec:
  parentRefs: [{name: gw, sectionName: udp}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
"""


def answer(
    manifest: Path, dialect: str = "istio", **entry: Any
) -> tuple[RouteRef, BackendRef, int]:
    directory = Directory()
    attributor = Attributor(directory, dialect)
    attributor.update(load_manifests([manifest], Losses()), 0)
    row = empty_requests(1)
    row["kind"] = EntryKind.HTTP
    row["method"], row["path"] = "GET", "/"
    for name, value in entry.items():
        row[name] = np.frombuffer(pack(value), np.uint8) if name.endswith("_addr") else value
    attributor.attribute(row)
    (one,) = row
    route, backend = directory.routes[int(one["route"])], directory.backends[int(one["backend"])]
    return route, backend, int(one["attribution"])


@pytest.fixture
def rewrites(tmp_path: Path) -> Path:
    services = [
        SERVICE.format(name=name, at=at) for at, name in enumerate(("one", "two", "three"), 1)
    ]
    path = tmp_path / "objects.yaml"
    path.write_text("".join(services) + REWRITES)
    return path


def rule(found: tuple[RouteRef, BackendRef, int]) -> tuple[str, int, str]:
    return found[0].name, found[0].rule, found[0].reason


def test_a_rewrite_is_turned_back_where_only_its_outcome_is_known(rewrites: Path) -> None:
    known: dict[str, Any] = {"host": "h.example", "local_port": 80, "up_remote_port": 8080}
    one, two, three = ({"up_remote_addr": f"10.2.0.{at}", **known} for at in (1, 2, 3))
    assert rule(answer(rewrites, path="/in/a", **one)) == ("r", 0, "")
    assert rule(answer(rewrites, path="/all?x", **one)) == ("r", 3, "")
    assert rule(answer(rewrites, path="/all", **three)) == ("other", 0, "")
    assert rule(answer(rewrites, path="/host/a", **one | {"host": "inner.example"})) == ("r", 4, "")
    original = answer(rewrites, path="/in/a", original_path="/v3/a", **two)
    assert rule(original) == ("r", 2, "")


def test_of_several_rewrites_none_is_guessed(rewrites: Path) -> None:
    known: dict[str, Any] = {"host": "h.example", "local_port": 80, "up_remote_port": 8080}
    route, backend, how = answer(rewrites, path="/in/a", up_remote_addr="10.2.0.2", **known)
    assert (route.name, route.rule, route.match, how) == ("r", -1, -1, Attribution.RESOLVER)
    assert (route.listener, backend.name) == ("http", "two")
    route, backend, how = answer(rewrites, path="/both", up_remote_addr="10.2.0.3", **known)
    assert (route.kind, route.reason, how) == ("", "ambiguous", Attribution.LISTENER)
    assert (route.gateway_id, backend.name) == ("n/gw", "three")


def test_a_backend_has_the_weight_of_its_rule(rewrites: Path) -> None:
    _, backend, _ = answer(
        rewrites, path="/v1", host="h.example", local_port=80,
        up_remote_addr="10.2.0.1", up_remote_port=8080,
    )  # fmt: skip
    assert backend == BackendRef("Service", "n", "one", 80, 3)


def test_a_udp_session_by_its_port_and_by_its_cluster(rewrites: Path) -> None:
    by_port = answer(rewrites, kind=EntryKind.TCP, log_type=13, local_port=53)
    assert (by_port[0].kind, by_port[0].name, by_port[0].listener) == ("UDPRoute", "dns", "udp")
    named = answer(rewrites, "eg", kind=EntryKind.TCP, cluster="udproute/n/dns/rule/-1")
    assert (named[0].kind, named[2]) == ("UDPRoute", Attribution.NAME)


@pytest.mark.parametrize(
    ("entry", "route"),
    [
        ({"host": "shop.a", "path": "/p/x"}, ("prod", 1)),
        ({"host": "shop.a.svc.cluster.local", "path": "/"}, ("prod", 0)),
        ({"host": "shop", "path": "/", "node_cluster": "client.a"}, ("prod", 0)),
        ({"local_addr": "10.1.4.193", "local_port": 80, "host": "x", "path": "/p"}, ("prod", 1)),
        ({"host": "shop.a:80", "path": "/c", "node_cluster": "client.c"}, ("cons", 0)),
        ({"host": "bare.a", "path": "/"}, ("", -1)),
    ],
)
def test_the_routes_of_a_service(entry: dict[str, Any], route: tuple[str, int]) -> None:
    found, _, _ = answer(ROUTES / "mesh.yaml", **entry)
    assert (found.name, found.rule, found.gateway) == (*route, "")


def test_a_cilium_cluster_tells_the_gateway(rewrites: Path) -> None:
    found, backend, _ = answer(
        rewrites, "cilium", host="h.example", path="/v1/x", cluster="n/cilium-gateway-gw/n:one:80"
    )
    assert (found.gateway_id, found.name, found.rule) == ("n/gw", "r", 0)
    assert backend.name == "one"


def test_an_ingress() -> None:
    found, _, how = answer(ROUTES / "ingress.yaml", "spec", host="i.test", path="/foo")
    assert (found.kind, found.name, found.rule, found.match) == ("Ingress", "i", 0, 1)
    assert (found.gateway, how) == ("nginx", Attribution.RESOLVER)
