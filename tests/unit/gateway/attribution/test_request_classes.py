"""Request classes: targets of one class satisfy the same matches."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowd.gateway.attribution.request_classes import RequestClasses
from flowd.gateway.matching.dialect import split_path
from flowd.gateway.matching.filters import can_rewrite_to
from flowd.gateway.matching.virtual_host import QueryParams
from flowd.gateway.table.route_table import RouteTable
from tests.support.envoy_entries import bundle

TABLE = RouteTable.build(bundle("eg"), "eg")
CLASSES = RequestClasses(TABLE)
PARTS = ["", "/", "/api", "/apix", "api", "/healthz", "/debug", "/old", "/new", "/rewrite", "/q",
         "/x", "//", "/.", "/cart.v1.Cart", "/Get", "?v=2", "?v=1", "&v=2", "?w", "#"]  # fmt: skip
TARGETS = st.lists(st.sampled_from(PARTS), max_size=5).map("".join)


def taken(target: str) -> list[tuple[bool, bool]]:
    """Verdict of every match of the table on a request target."""
    path, query = split_path(target)
    return [
        (
            match.matches_path(path)
            and match.matches_rest("GET", {}, QueryParams(query), lenient=True),
            can_rewrite_to(rule.filters, "", path),
        )
        for route in TABLE.routes.values()
        for rule in route.rules
        for match in rule.matches
    ]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TARGETS, min_size=2, max_size=12))
def test_what_is_alike_is_taken_alike(targets: list[str]) -> None:
    by_class: dict[object, list[tuple[bool, bool]]] = {}
    for target in targets:
        known = by_class.setdefault(CLASSES.class_of(target), taken(target))
        assert known == taken(target), target


def test_paths_that_no_match_tells_apart_are_alike() -> None:
    assert CLASSES.class_of("/api/users/1?x=1") == CLASSES.class_of("/api/users/2")
    assert CLASSES.class_of("/api/users/1") != CLASSES.class_of("/apix/users/1")
    assert CLASSES.class_of("/q/a?v=2") != CLASSES.class_of("/q/a?v=3")
