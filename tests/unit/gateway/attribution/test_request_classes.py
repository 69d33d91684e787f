"""Requests that are alike are taken by the same matches."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowd.gateway.attribution.request_classes import Likeness
from flowd.gateway.matching.dialect import split_path
from flowd.gateway.matching.filters import can_produce
from flowd.gateway.matching.virtual_host import Query
from flowd.gateway.table.route_table import RouteTable
from tests.support.envoy_entries import bundle

TABLE = RouteTable.build(bundle("eg"), "eg")
LIKENESS = Likeness(TABLE)
PARTS = ["", "/", "/api", "/apix", "api", "/healthz", "/debug", "/old", "/new", "/rewrite", "/q",
         "/x", "//", "/.", "/cart.v1.Cart", "/Get", "?v=2", "?v=1", "&v=2", "?w", "#"]  # fmt: skip
TARGETS = st.lists(st.sampled_from(PARTS), max_size=5).map("".join)


def taken(target: str) -> list[tuple[bool, bool]]:
    """What every match of the table says to a request target."""
    path, query = split_path(target)
    return [
        (
            match.takes_path(path) and match.takes_rest("GET", {}, Query(query), lenient=True),
            can_produce(rule.filters, "", path),
        )
        for route in TABLE.routes.values()
        for rule in route.rules
        for match in rule.matches
    ]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TARGETS, min_size=2, max_size=12))
def test_what_is_alike_is_taken_alike(targets: list[str]) -> None:
    by_likeness: dict[object, list[tuple[bool, bool]]] = {}
    for target in targets:
        known = by_likeness.setdefault(LIKENESS.of(target), taken(target))
        assert known == taken(target), target


def test_paths_that_no_match_tells_apart_are_alike() -> None:
    assert LIKENESS.of("/api/users/1?x=1") == LIKENESS.of("/api/users/2")
    assert LIKENESS.of("/api/users/1") != LIKENESS.of("/apix/users/1")
    assert LIKENESS.of("/q/a?v=2") != LIKENESS.of("/q/a?v=3")
