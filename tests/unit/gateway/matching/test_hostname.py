"""Hostnames of listeners and routes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd.gateway.matching.hostname import (
    ANY,
    covering_hostnames,
    covers,
    intersection,
    normalize_host,
    specificity,
)

HOSTS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
NAMES = HOSTS | HOSTS.map("*.{}".format) | st.just(ANY)


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("WWW.Example.com:8080", "www.example.com"),
        ("a.example", "a.example"),
        ("a.example:", "a.example"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_hosts_are_compared_without_case_and_port(host: str, wanted: str) -> None:
    assert normalize_host(host) == wanted


@pytest.mark.parametrize(
    ("route", "listener", "shared"),
    [
        ("a.b", "a.b", "a.b"),
        ("a.b", "*.b", "a.b"),
        ("x.a.b", "*.b", "x.a.b"),
        ("b", "*.b", None),
        ("*.b", "a.b", "a.b"),
        ("*.a.b", "*.b", "*.a.b"),
        ("*.b", "*.a.b", "*.a.b"),
        ("*.b", "*.c", None),
        (ANY, "*.b", "*.b"),
        ("*.b", ANY, "*.b"),
        (ANY, ANY, ANY),
        ("a.b", "a.c", None),
    ],
)
def test_intersection(route: str, listener: str, shared: str | None) -> None:
    assert intersection(route, listener) == shared


@given(NAMES, NAMES, HOSTS)
def test_what_both_cover_the_intersection_covers(one: str, two: str, host: str) -> None:
    shared = intersection(one, two)
    assert (covers(one, host) and covers(two, host)) == bool(shared and covers(shared, host))


@given(HOSTS, st.lists(NAMES, max_size=8))
def test_matching_yields_what_covers_most_specific_first(host: str, names: list[str]) -> None:
    found = [name for name in covering_hostnames(host) if name in names]
    assert set(found) == {name for name in names if covers(name, host)}
    assert found == sorted(found, key=specificity, reverse=True)


def test_a_host_of_any_length_is_cheap() -> None:
    assert list(covering_hostnames("a." * 5000)) == [ANY]
