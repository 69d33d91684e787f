"""Attachment by parentRefs: accepting listeners, and API reasons when none accepts."""

from pathlib import Path

import pytest

from flowd.gateway.attachment.parent_ref import ParentStatus
from flowd.gateway.table.route_table import RouteTable
from tests.support.gateway_bundle import objects_of, tutorial_table


def parents(table: RouteTable, kind: str, namespace: str, name: str) -> list[ParentStatus]:
    return table.parents[kind, namespace, name]


def verdicts(parent: ParentStatus) -> list[tuple[bool, str]]:
    return [(condition.status, condition.reason) for condition in parent.conditions]


def test_a_route_is_accepted_where_it_asks() -> None:
    (parent,) = parents(tutorial_table(), "HTTPRoute", "store", "split")
    assert (parent.gateway_namespace, parent.gateway, parent.section) == ("store", "front", "web")
    assert parent.listeners == ("web",)
    assert verdicts(parent) == [(True, "Accepted"), (True, "ResolvedRefs")]


def test_another_namespace_is_let_in_by_the_selector_but_not_to_other_services() -> None:
    (parent,) = parents(tutorial_table(), "HTTPRoute", "partner", "partner")
    assert parent.listeners == ("web",)
    assert verdicts(parent) == [(True, "Accepted"), (False, "RefNotPermitted")]
    assert parent.conditions[1].message == "store/shop:80"


def test_a_stranger_is_not_let_in() -> None:
    (parent,) = parents(tutorial_table(), "HTTPRoute", "stranger", "intruder")
    assert verdicts(parent)[0] == (False, "NotAllowedByListeners")
    assert parent.listeners == ()


def test_why_a_route_is_lost() -> None:
    found = parents(tutorial_table(), "HTTPRoute", "store", "lost")
    assert [verdicts(parent)[0] for parent in found] == [
        (False, "NoMatchingParent"),
        (False, "NoMatchingParent"),
        (False, "NoMatchingListenerHostname"),
        (True, "Accepted"),
    ]
    assert [parent.conditions[0].message for parent in found] == [
        "Gateway store/front has no listener nowhere",
        "Gateway store/absent is not there",
        "lost.example.org on secure *.store.test",
        "",
    ]
    assert verdicts(found[0])[1] == (False, "BackendNotFound"), "the Service has no port 81"


def test_streams_attach_by_kind() -> None:
    table = tutorial_table()
    (vault,) = parents(table, "TLSRoute", "store", "vault")
    (sql,) = parents(table, "TCPRoute", "store", "sql")
    assert (vault.listeners, sql.listeners) == (("raw",), ("db",))


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: r, namespace: {namespace}}}
spec:
  parentRefs: [{{name: front, namespace: store, {parent}}}]
  rules: [{{backendRefs: [{backend}]}}]
---
"""
SHOP = "{name: shop, namespace: store, port: 80}"


def grant(fields: str) -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: g, namespace: store}}
spec: {{{fields}}}
"""


FROM = "from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: partner}]"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (FROM + ", to: [{group: '', kind: Service}]", "ResolvedRefs"),
        (FROM + ", to: [{group: '', kind: Service, name: shop}]", "ResolvedRefs"),
        (FROM + ", to: [{group: '', kind: Service, name: auth}]", "RefNotPermitted"),
        (FROM + ", to: [{group: '', kind: Secret}]", "RefNotPermitted"),
        (FROM.replace("HTTPRoute", "GRPCRoute") + ", to: [{group: '', kind: Service}]", "RefNot"),
        (FROM.replace("partner", "other") + ", to: [{group: '', kind: Service}]", "RefNotPerm"),
    ],
)
def test_reference_grants(tmp_path: Path, fields: str, reason: str) -> None:
    route = ROUTE.format(kind="HTTPRoute", namespace="partner", parent="port: 80", backend=SHOP)
    table = RouteTable.build(objects_of(tmp_path, route + grant(fields)))
    (parent,) = parents(table, "HTTPRoute", "partner", "r")
    assert parent.conditions[1].reason.startswith(reason)


@pytest.mark.parametrize(
    ("kind", "namespace", "parent", "reason"),
    [
        ("GRPCRoute", "store", "sectionName: web", "HostnameConflict"),
        ("HTTPRoute", "store", "sectionName: raw", "NotAllowedByListeners"),
        ("TCPRoute", "store", "sectionName: web", "NotAllowedByListeners"),
        ("UDPRoute", "store", "sectionName: db", "NotAllowedByListeners"),
        ("HTTPRoute", "partner", "sectionName: secure", "NotAllowedByListeners"),
        ("HTTPRoute", "store", "port: 81", "NoMatchingParent"),
        ("HTTPRoute", "store", "sectionName: web, port: 443", "NoMatchingParent"),
        ("HTTPRoute", "store", "port: 443", "Accepted"),
    ],
)
def test_kinds_namespaces_and_ports(
    tmp_path: Path, kind: str, namespace: str, parent: str, reason: str
) -> None:
    text = ROUTE.format(kind=kind, namespace=namespace, parent=parent, backend=SHOP)
    table = RouteTable.build(objects_of(tmp_path, text))
    (found,) = parents(table, kind, namespace, "r")
    assert found.conditions[0].reason == reason


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("{name: absent, port: 80}", "BackendNotFound"),
        ("{name: shop, kind: Bucket, group: store.example}", "InvalidKind"),
        ("{name: x, kind: Backend, group: gateway.envoyproxy.io}", "ResolvedRefs"),
    ],
)
def test_backends_that_cannot_be(tmp_path: Path, backend: str, reason: str) -> None:
    text = ROUTE.format(
        kind="HTTPRoute", namespace="store", parent="sectionName: web", backend=backend
    )
    table = RouteTable.build(objects_of(tmp_path, text))
    (found,) = parents(table, "HTTPRoute", "store", "r")
    assert found.conditions[1].reason == reason


SELECTORS = [
    ("matchLabels: {tier: silver}", True),
    ("matchLabels: {tier: gold}", False),
    ("matchExpressions: [{key: tier, operator: NotIn, values: [gold]}]", True),
    ("matchExpressions: [{key: tier, operator: Exists}]", True),
    ("matchExpressions: [{key: tier, operator: DoesNotExist}]", False),
    ("matchExpressions: [{key: missing, operator: NotIn, values: [a]}]", True),
    ("matchLabels: {tier: silver}, matchExpressions: [{key: x, operator: Exists}]", False),
]


@pytest.mark.parametrize(("selector", "accepted"), SELECTORS)
def test_namespace_selectors(tmp_path: Path, selector: str, accepted: bool) -> None:
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, namespace: store}}
spec:
  listeners:
  - name: web
    port: 80
    protocol: HTTP
    allowedRoutes: {{namespaces: {{from: Selector, selector: {{{selector}}}}}}}
"""
    table = RouteTable.build(objects_of(tmp_path, text))
    (parent,) = parents(table, "HTTPRoute", "partner", "partner")
    assert parent.conditions[0].status == accepted


def test_a_listener_may_narrow_its_kinds(tmp_path: Path) -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: store}
spec:
  listeners:
  - {name: web, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}
"""
    table = RouteTable.build(objects_of(tmp_path, text))
    (parent,) = parents(table, "HTTPRoute", "store", "split")
    assert parent.conditions[0].reason == "NotAllowedByListeners"


def test_without_any_service_references_are_taken_at_their_word(tmp_path: Path) -> None:
    objects = objects_of(tmp_path, "")
    objects.services.clear()
    table = RouteTable.build(objects)
    (parent,) = parents(table, "HTTPRoute", "store", "split")
    assert parent.conditions[1].status


def test_a_route_with_only_bad_expressions_is_not_accepted(tmp_path: Path) -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: store}
spec:
  parentRefs: [{name: front, sectionName: web}]
  rules: [{matches: [{path: {type: RegularExpression, value: "("}}]}]
"""
    table = RouteTable.build(objects_of(tmp_path, text))
    (parent,) = parents(table, "HTTPRoute", "store", "r")
    assert (parent.conditions[0].status, parent.conditions[0].reason) == (False, "UnsupportedValue")
    assert "bad regular expression" in parent.conditions[0].message


def test_endpoints_are_counted_by_slices_then_by_pods() -> None:
    services = tutorial_table().services
    assert services.endpoint_count("store", "auth") == (1, 2)
    assert services.endpoint_count("store", "shop") == (2, 2)
    assert services.endpoint_count("partner", "own") == (0, 0)
    assert services.endpoint_count("store", "absent") == (-1, -1)
