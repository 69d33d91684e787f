"""Virtual hosts shared by all plain ports of a Cilium Gateway, and separate for other dialects."""

import pytest

from flowd.gateway.report.explain import explain
from flowd.gateway.report.simulate import Request, match_request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects

EVERYONE = gw.AllowedRoutes(namespaces=gw.RouteNamespaces(from_="All"))


def listener(name: str, port: int, hostname: str = "", protocol: str = "HTTP") -> gw.Listener:
    return gw.Listener(
        name=name, port=port, protocol=protocol, hostname=hostname, allowed_routes=EVERYONE
    )


def route(name: str, section: str, host: str, path: str = "/") -> gw.HTTPRoute:
    parent = gw.ParentReference(name="edge", namespace="infra", section_name=section)
    match = gw.HTTPRouteMatch(path=gw.HTTPPathMatch(value=path))
    spec = gw.HTTPRouteSpec(
        parent_refs=(parent,), hostnames=(host,), rules=(gw.HTTPRouteRule(matches=(match,)),)
    )
    return gw.HTTPRoute(metadata=core.ObjectMeta(name=name, namespace="shop"), spec=spec)


def cluster(*routes: gw.HTTPRoute) -> Objects:
    objects = Objects()
    listeners = (
        listener("one", 80, "a.test"),
        listener("two", 8080),
        listener("tls", 443, "s.test", "HTTPS"),
    )
    metadata = core.ObjectMeta(name="edge", namespace="infra")
    objects.add(gw.Gateway(metadata=metadata, spec=gw.GatewaySpec(listeners=listeners)))
    for item in routes:
        objects.add(item)
    return objects


ROUTES = (
    route("first", "one", "a.test", "/one"),
    route("second", "two", "a.test", "/two"),
    route("other", "two", "b.test"),
    route("secret", "tls", "s.test"),
)


def taken(table: RouteTable, port: int, host: str, path: str = "/") -> tuple[str, str]:
    """Name of the route that accepts a request (or the reason for none), and of the listener."""
    found = match_request(table, Request(port=port, host=host, path=path))
    return (found.route.name if found.route else found.reason), found.listener


@pytest.mark.parametrize(
    ("port", "host", "path", "cilium", "spec"),
    [
        (80, "a.test", "/one", ("first", "one"), ("first", "one")),
        (80, "a.test", "/two", ("second", "one"), ("route_not_found", "one")),
        (8080, "a.test", "/one", ("first", "two"), ("route_not_found", "two")),
        (8080, "a.test", "/two", ("second", "two"), ("second", "two")),
        (80, "b.test", "/", ("other", "one"), ("route_not_found", "one")),
        (80, "c.test", "/", ("route_not_found", "one"), ("route_not_found", "one")),
        (8080, "s.test", "/", ("route_not_found", "two"), ("route_not_found", "two")),
    ],
)
def test_what_each_port_serves(
    port: int, host: str, path: str, cilium: tuple[str, str], spec: tuple[str, str]
) -> None:
    objects = cluster(*ROUTES)
    assert taken(RouteTable.build(objects, "cilium"), port, host, path) == cilium
    assert taken(RouteTable.build(objects, "spec"), port, host, path) == spec


def test_ports_with_tls_stay_apart() -> None:
    table = RouteTable.build(cluster(*ROUTES), "cilium")
    found = match_request(table, Request(port=443, sni="s.test", host="a.test", path="/one"))
    assert (found.route, found.reason) == (None, "route_not_found")


def test_a_route_that_comes_or_goes_is_seen_on_both_ports() -> None:
    table = RouteTable.build(cluster(*ROUTES[1:]), "cilium")
    assert taken(table, 8080, "a.test", "/one")[0] == "route_not_found"
    table = RouteTable.build(cluster(*ROUTES), "cilium", table)
    assert taken(table, 8080, "a.test", "/one")[0] == "first"
    table = RouteTable.build(cluster(*ROUTES[1:]), "cilium", table)
    assert taken(table, 8080, "a.test", "/one")[0] == "route_not_found"


def test_an_explanation_tells_the_route_of_the_other_port() -> None:
    table = RouteTable.build(cluster(*ROUTES), "cilium")
    found = explain(table, Request(port=80, host="a.test", path="/two"))
    verdicts = {entry.name: entry.verdict for entry in found.considered}
    assert verdicts["second"] == "taken"
    assert verdicts["first"] == "path /two does not fit PathPrefix /one"
