"""Simulation of requests."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowd.gateway.report.simulate import (
    ForwardedRequest,
    MatchedRoute,
    Request,
    SimulationResult,
    WeightedBackend,
    match_request,
)
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.enums import EntryKind
from tests.support.envoy_entries import Truth, bundle, recorded
from tests.support.gateway_bundle import objects_of, tutorial_table


def ask(table: RouteTable, **fields: object) -> SimulationResult:
    return match_request(table, msgspec.convert(fields, Request))


def web(dialect: str = "spec", host: str = "www.store.test", **fields: Any) -> SimulationResult:
    return ask(tutorial_table(dialect), host=host, **fields)


def rule_of(outcome: SimulationResult) -> int | None:
    return outcome.route.rule if outcome.route else None


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"path": "/"}, 0),
        ({"path": "/login"}, 1),
        ({"path": "/login/"}, 1),
        ({"path": "/login/x?y=1"}, 1),
        ({"path": "/loginx"}, 0),
        ({"path": "/login/help"}, 3),
        ({"path": "/", "headers": {"version": "2"}}, 2),
        ({"path": "/", "headers": {"VERSION": "2"}}, 2),
        ({"path": "/", "headers": {"version": "3"}}, 0),
        ({"path": "/login", "headers": {"version": "2"}}, 1),
        ({"path": "/item/12"}, 7),
        ({"path": "/item/x"}, 7),
        ({}, 0),
    ],
)
def test_rules_of_the_tutorial(fields: dict[str, Any], rule: int) -> None:
    outcome = web(**fields)
    assert (outcome.gateway, outcome.listener, rule_of(outcome)) == ("store/front", "web", rule)
    assert (outcome.action, outcome.status) == ("forward", None)


def test_envoy_gateway_tries_expressions_first() -> None:
    assert rule_of(web("eg", path="/item/12")) == 6
    assert rule_of(web("eg", path="/item/x")) == 7


def test_weights_come_with_the_answer() -> None:
    assert web(path="/").backends == [
        WeightedBackend("store", "shop", 80, 95),
        WeightedBackend("store", "shop-next", 80, 5),
    ]
    named = MatchedRoute("HTTPRoute", "store", "split", 0, 0, "canary-by-weight")
    assert web(path="/").route == named


def test_a_header_filter() -> None:
    headers = {"cookie": "a=1", "X-Team": "other", "x-tag": "a", "accept": "*/*"}
    wanted = {"x-team": "store", "x-tag": "a,b", "accept": "*/*"}
    outcome = web(path="/tagged?q=1", headers=headers)
    assert outcome.rewritten == ForwardedRequest("www.store.test", "/tagged?q=1", wanted)


def test_a_redirect() -> None:
    outcome = web(path="/gone/now?x=1", port=80)
    assert (outcome.action, outcome.status) == ("redirect", 301)
    assert outcome.redirect == "https://new.store.test/gone/now?x=1"
    assert outcome.backends == []


def test_a_host_that_no_route_takes() -> None:
    outcome = web(host="nobody.example.org", path="/")
    assert (outcome.route, outcome.action, outcome.status) == (None, "reject", 404)
    assert (outcome.listener, outcome.reason) == ("web", "route_not_found")


def test_the_listener_of_a_server_name() -> None:
    table = tutorial_table()
    secure = ask(table, sni="bank.store.test", host="bank.store.test", path="/")
    assert (secure.listener, secure.route and secure.route.name) == ("bank", "secure")
    assert ask(table, scheme="https", host="a.store.test", path="/").listener == "secure"
    other = ask(table, scheme="https", host="a.example.org", path="/")
    assert (other.action, other.status, other.reason) == ("reject", None, "filter_chain_not_found")


def test_streams() -> None:
    table = tutorial_table()
    vault = ask(table, port=6443, sni="vault.store.test")
    assert vault.route
    assert (vault.route.kind, vault.listener, vault.action) == ("TLSRoute", "raw", "forward")
    lost = ask(table, port=6443, sni="other.store.test")
    assert (lost.route, lost.listener, lost.reason) == (None, "raw", "filter_chain_not_found")
    sql = ask(table, port=5432)
    assert sql.route
    assert (sql.route.kind, sql.route.name) == ("TCPRoute", "sql")


def test_what_is_not_there() -> None:
    assert web(gateway="store/absent").reason == "no_gateway"
    assert web(gateway="store/front", port=81).reason == "no_listener"
    assert web(listener="absent").reason == "no_listener"
    assert ask(RouteTable.build(Objects()), host="a").reason == "no_listener"


def test_backends_that_cannot_answer() -> None:
    table = tutorial_table()
    denied = ask(table, host="partner.store.test", path="/")
    assert (denied.action, denied.status, denied.reason) == ("respond", 500, "RefNotPermitted")
    empty = ask(table, host="partner.store.test", path="/own")
    assert (empty.action, empty.status, empty.reason) == ("respond", 503, "no_endpoints")


@pytest.mark.parametrize(
    ("refs", "status", "reason"),
    [
        ("[]", 500, "no_backends"),
        ("[{name: shop, port: 80, weight: 0}]", 500, "no_backends"),
        ("[{name: absent, port: 80}]", 500, "BackendNotFound"),
        ("[{name: absent, port: 80}, {name: shop, port: 80}]", None, ""),
        ("[{name: absent, port: 80}, {name: shop, port: 80, weight: 0}]", 500, "BackendNotFound"),
    ],
)
def test_when_the_gateway_answers_itself(
    tmp_path: Path, refs: str, status: int | None, reason: str
) -> None:
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r, namespace: store}}
spec:
  parentRefs: [{{name: front, sectionName: web}}]
  hostnames: [r.store.test]
  rules: [{{backendRefs: {refs}}}]
"""
    table = RouteTable.build(objects_of(tmp_path, text))
    outcome = ask(table, host="r.store.test", path="/")
    assert (outcome.status, outcome.reason) == (status, reason)


def test_envoy_gateway_handles_paths_before_routes() -> None:
    slash = web("eg", path="/login%2Fx?y=1")
    assert (slash.action, slash.status, slash.redirect) == ("redirect", 307, "/login/x?y=1")
    assert (slash.route, slash.reason) == (None, "path_normalization_failed")
    assert rule_of(web("eg", path="//login")) == 1
    assert rule_of(web("istio", path="//login")) == 0
    assert rule_of(web("eg", path="/a/../login/./x")) == 1
    assert rule_of(web("spec", path="/a/../login")) == 0
    refused = web("eg", path="/", headers={"a_b": "1"})
    assert (refused.status, refused.reason) == (400, "unexpected_underscore")


@pytest.mark.parametrize("dialect", ["eg", "istio"])
def test_recorded_requests(dialect: str) -> None:
    table = RouteTable.build(bundle(dialect), dialect)
    batch, truths = recorded(dialect)
    wrong: list[str] = []
    for row, truth in zip(batch, truths, strict=True):
        if row["kind"] == EntryKind.HTTP:
            fields = {"host": row["host"], "path": truth.path, "method": row["method"]}
        else:
            fields = {}
        outcome = ask(
            table,
            gateway=truth.gateway,
            port=int(row["local_port"]),
            sni=row["sni"] or None,
            headers=row["headers"],
            **fields,
        )
        if not agrees(outcome, truth):
            wrong.append(f"{truth} got {outcome}")
    assert wrong == []


def agrees(outcome: SimulationResult, truth: Truth) -> bool:
    route = outcome.route
    told = route and (route.kind, route.namespace, route.name, route.rule, route.match)
    backends = [f"{ref.namespace}/{ref.name}:{ref.port}" for ref in outcome.backends]
    return (
        (outcome.gateway, outcome.listener) == (truth.gateway, truth.listener)
        and told == (truth.route and truth.route[:5])
        and (not truth.backend or truth.backend in backends)
    )


def test_the_narrowest_host_decides_between_gateways() -> None:
    table = RouteTable.build(bundle("eg"), "eg")
    assert ask(table, host="www.shop.example", path="/").gateway == "infra/public"
    assert ask(table, host="anything.local", path="/").gateway == "infra/internal"
