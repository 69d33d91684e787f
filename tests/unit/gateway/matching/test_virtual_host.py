"""Virtual hosts compared with a simple reference: try every match in order of precedence."""

import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.gateway.matching.backend import ServiceIndex
from flowd.gateway.matching.dialect import DIALECTS, Dialect
from flowd.gateway.matching.rules import Route
from flowd.gateway.matching.virtual_host import Candidate, VirtualHost
from flowd.gateway.table.routes import build_routes
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.core import ObjectMeta
from flowd.kubernetes.objects.snapshot import Objects
from flowd.settings import DIALECTS as DIALECT_NAMES

SEGMENTS = st.sampled_from(["a", "b", "ab", ""])
PATHS = st.lists(SEGMENTS, max_size=4).map(lambda parts: "/" + "/".join(parts))
VALUES = st.sampled_from(["1", "2", "12"])
TESTS = st.builds(
    gw.ValueMatch,
    name=st.sampled_from(["x", "X", "y"]),
    value=VALUES | st.just("[12]+"),
    type=st.sampled_from(["Exact", "RegularExpression"]),
)
PATH_MATCHES = st.builds(
    gw.HTTPPathMatch, type=st.sampled_from(["Exact", "PathPrefix"]), value=PATHS
) | st.builds(
    gw.HTTPPathMatch,
    type=st.just("RegularExpression"),
    value=st.sampled_from(["/a.*", "/(a|b)/?", ".*b", "/a/b"]),
)
MATCHES = st.builds(
    gw.HTTPRouteMatch,
    path=PATH_MATCHES,
    method=st.sampled_from(["", "GET", "POST"]),
    headers=st.lists(TESTS, max_size=2).map(tuple),
    query_params=st.lists(TESTS, max_size=1).map(tuple),
)
RULES = st.builds(gw.HTTPRouteRule, matches=st.lists(MATCHES, max_size=3).map(tuple))
ROUTES = st.builds(
    gw.HTTPRoute,
    metadata=st.builds(
        ObjectMeta,
        name=st.sampled_from("pqrs"),
        namespace=st.sampled_from(["n", "m"]),
        creation_timestamp=st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]),
    ),
    spec=st.builds(gw.HTTPRouteSpec, rules=st.lists(RULES, max_size=3).map(tuple)),
)
PAIRS = st.dictionaries(st.sampled_from(["x", "X", "y", "z"]), VALUES, max_size=2)


def built(items: list[gw.HTTPRoute], dialect: Dialect) -> list[Route]:
    objects = Objects()
    for item in items:
        objects.add(item)
    return [route for route, _ in build_routes(objects, ServiceIndex(objects), dialect)]


def elements(path: str) -> list[str]:
    return path.rstrip("/").split("/")


def obvious(
    routes: list[Route],
    dialect: Dialect,
    path: str,
    query: Mapping[str, str],
    method: str,
    headers: Mapping[str, str],
) -> Candidate | None:
    """Reference implementation of the Gateway API rules, one after the other."""

    def takes(candidate: Candidate) -> bool:
        match = candidate.match
        if match.path_type == "Exact" and path != match.path:
            return False
        if match.path_type == "PathPrefix":
            wanted = elements(match.path)
            if path.split("/")[: len(wanted)] != wanted:
                return False
        if match.path_type == "RegularExpression" and not match.matches_path(path):
            return False
        if match.method not in ("", method):
            return False
        return all(
            test.name in values and test.predicate(values[test.name])
            for tests, values in ((match.headers, headers), (match.query, query))
            for test in tests
        )

    def precedence(candidate: Candidate) -> tuple[object, ...]:
        match, route = candidate.match, candidate.route
        length = len(match.path.rstrip("/")) if match.path_type == "PathPrefix" else len(match.path)
        order = (dialect.path_order.index(match.path_type), -length)
        if dialect.method_is_header:
            exact = sum(not test.regex for test in match.headers) + bool(match.method)
            order += (-len(match.headers) - bool(match.method), -exact, -len(match.query))
        else:
            order += (-bool(match.method), -len(match.headers), -len(match.query))
        age = route.created or "9999"
        return *order, age, route.namespace, route.name, candidate.rule.index, match.index

    every = [
        Candidate(route, rule, match)
        for route in routes
        for rule in route.rules
        for match in rule.matches
    ]
    return min(filter(takes, every), key=precedence, default=None)


@settings(max_examples=300)
@given(
    st.lists(ROUTES, max_size=3),
    st.sampled_from(sorted(DIALECTS)),
    st.lists(st.tuples(PATHS, PAIRS, st.sampled_from(["GET", "POST", "PUT"]), PAIRS), min_size=1),
)
def test_compiled_and_obvious_agree(
    items: list[gw.HTTPRoute],
    name: str,
    requests: list[tuple[str, dict[str, str], str, dict[str, str]]],
) -> None:
    dialect = DIALECTS[name]
    routes = built(items, dialect)
    vhost = VirtualHost.build("*", routes)
    for path, query, method, given_headers in requests:
        headers = {key.lower(): value for key, value in given_headers.items()}
        text = "&".join(f"{key}={value}" for key, value in query.items())
        found = vhost.find(path, text, method, headers)
        assert found == obvious(routes, dialect, path, query, method, headers)


NAMES = st.sampled_from(["", "S", "p.S", "p.T"])
GRPC_METHODS = st.builds(
    gw.GRPCMethodMatch,
    service=NAMES,
    method=st.sampled_from(["", "M", "N", "Longer"]),
    type=st.sampled_from(["Exact", "RegularExpression"]),
)
GRPC_RULES = st.builds(
    gw.GRPCRouteRule,
    matches=st.lists(
        st.builds(
            gw.GRPCRouteMatch, method=GRPC_METHODS, headers=st.lists(TESTS, max_size=2).map(tuple)
        ),
        max_size=3,
    ).map(tuple),
)


def asked(service: str, method: str, match: gw.GRPCRouteMatch, headers: Mapping[str, str]) -> bool:
    """Whether a match accepts a call, as the specification words it."""
    wanted = match.method
    for mine, theirs in ((wanted.service, service), (wanted.method, method)):
        fits = re.fullmatch(mine, theirs) if wanted.type == "RegularExpression" else mine == theirs
        if mine and not fits:
            return False
    tests: dict[str, gw.ValueMatch] = {}
    for test in match.headers:
        tests.setdefault(test.name.lower(), test)
    for name, test in tests.items():
        value = headers.get(name)
        if value is None:
            return False
        if test.type == "Exact" and value != test.value:
            return False
        if test.type != "Exact" and not re.fullmatch(test.value, value):
            return False
    return True


@settings(max_examples=300)
@given(
    st.lists(GRPC_RULES, min_size=1, max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["S", "p.S", "p.T", "x"]),
            st.sampled_from(["M", "N", "Longer", "x"]),
            PAIRS,
        ),
        min_size=1,
    ),
)
def test_calls_go_to_the_most_characters_in_service_then_method_then_headers(
    rules: list[gw.GRPCRouteRule], calls: list[tuple[str, str, dict[str, str]]]
) -> None:
    item = gw.GRPCRoute(
        metadata=ObjectMeta(name="r", namespace="n"), spec=gw.GRPCRouteSpec(rules=tuple(rules))
    )
    objects = Objects()
    objects.add(item)
    found = [route for route, _ in build_routes(objects, ServiceIndex(objects), DIALECTS["spec"])]
    vhost = VirtualHost.build("*", found)
    every = [
        (at, number, match)
        for at, rule in enumerate(rules)
        for number, match in enumerate(rule.matches or (gw.GRPCRouteMatch(),))
    ]
    for service, method, given_headers in calls:
        headers = {key.lower(): value for key, value in given_headers.items()}
        takers = [entry for entry in every if asked(service, method, entry[2], headers)]
        best = min(
            takers,
            key=lambda entry: (
                entry[2].method.type == "RegularExpression"
                and bool(entry[2].method.service or entry[2].method.method),
                -len(entry[2].method.service),
                -len(entry[2].method.method),
                -len({test.name.lower() for test in entry[2].headers}),
                entry[0],
                entry[1],
            ),
            default=None,
        )
        taken = vhost.find(f"/{service}/{method}", "", "POST", headers)
        assert (taken and (taken.rule.index, taken.match.index)) == (best and best[:2])


def route_of(*rules: gw.HTTPRouteRule) -> gw.HTTPRoute:
    return gw.HTTPRoute(
        metadata=ObjectMeta(name="r", namespace="n"), spec=gw.HTTPRouteSpec(rules=rules)
    )


def rule(path_type: gw.PathMatchType, path: str, **fields: object) -> gw.HTTPRouteRule:
    match = gw.HTTPRouteMatch(path=gw.HTTPPathMatch(type=path_type, value=path), **fields)  # pyright: ignore[reportArgumentType]
    return gw.HTTPRouteRule(matches=(match,))


@pytest.mark.parametrize(
    ("dialect", "path", "wanted"),
    [
        ("spec", "/item/7", 1),
        ("eg", "/item/7", 0),
        ("cilium", "/item/7", 0),
        ("contour", "/item/7", 0),
        ("istio", "/item/7", 1),
        ("spec", "/item/x", 1),
        ("spec", "/items", None),
        ("spec", "/other/7", 0),
        ("eg", "/item/8", 2),
    ],
)
def test_where_regular_expressions_stand(dialect: str, path: str, wanted: int | None) -> None:
    item = route_of(
        rule("RegularExpression", "/[a-z]+/[0-9]"),
        rule("PathPrefix", "/item"),
        rule("Exact", "/item/8"),
    )
    vhost = VirtualHost.build("*", built([item], DIALECTS[dialect]))
    found = vhost.find(path, "", "GET", {})
    assert (found.rule.index if found else None) == wanted


@pytest.mark.parametrize(("dialect", "wanted"), [("spec", 0), ("eg", 1)])
def test_envoy_gateway_counts_a_method_as_a_header(dialect: str, wanted: int) -> None:
    headers = tuple(gw.ValueMatch(name=name, value="1") for name in ("x", "y"))
    item = route_of(rule("PathPrefix", "/", method="GET"), rule("PathPrefix", "/", headers=headers))
    vhost = VirtualHost.build("*", built([item], DIALECTS[dialect]))
    found = vhost.find("/", "", "GET", {"x": "1", "y": "1"})
    assert found
    assert found.rule.index == wanted


def test_the_first_of_repeated_query_parameters_and_header_matches_counts() -> None:
    test = gw.ValueMatch(name="v", value="1")
    twice = (gw.ValueMatch(name="X", value="1"), gw.ValueMatch(name="x", value="2"))
    item = route_of(rule("PathPrefix", "/", query_params=(test,), headers=twice))
    vhost = VirtualHost.build("*", built([item], DIALECTS["spec"]))
    assert vhost.find("/", "v=1&v=2", "GET", {"x": "1"})
    assert not vhost.find("/", "v=2&v=1", "GET", {"x": "1"})
    assert not vhost.find("/", "v=1", "GET", {"x": "2"})


def test_a_rule_with_a_bad_expression_is_left_out_and_told() -> None:
    item = route_of(rule("RegularExpression", "/(a"), rule("PathPrefix", "/b"))
    (route,) = built([item], DIALECTS["eg"])
    assert [entry.index for entry in route.rules] == [1]
    assert "rule 0: bad regular expression" in route.problem


def test_a_long_path_is_cheap() -> None:
    vhost = VirtualHost.build("*", built([route_of(rule("PathPrefix", "/a/b"))], DIALECTS["eg"]))
    assert vhost.find("/a/b" + "/" * 200_000, "", "GET", {})
    assert not vhost.find("/" * 200_000, "", "GET", {})


def test_the_setting_names_every_dialect() -> None:
    assert set(DIALECT_NAMES) == set(DIALECTS)
