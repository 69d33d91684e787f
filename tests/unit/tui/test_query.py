"""Filter language of `flowd top`."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd_tui.views.query import FieldKind, QueryError, QueryField, Schema, parse, quoted

Item = Mapping[str, str | float]


def field(name: str, kind: FieldKind) -> QueryField[Item]:
    return QueryField(kind, lambda item: [item[name]] if name in item else [])


SCHEMA: Schema[Item] = Schema(
    {
        "pod": field("pod", FieldKind.PREFIX),
        "ns": field("ns", FieldKind.WORD),
        "ip": field("ip", FieldKind.IP),
        "route": field("route", FieldKind.NAME),
        "http-status": field("status", FieldKind.NUMBER),
        "latency": field("latency", FieldKind.NUMBER),
        "bytes": field("bytes", FieldKind.NUMBER),
    },
    lambda item: str(item.get("text", "")).casefold(),
)
ITEM: Item = {
    "pod": "shop/web-7f9c",
    "ns": "shop",
    "ip": "10.244.1.8",
    "route": "HTTPRoute/shop/shop",
    "status": 503,
    "latency": 260e6,
    "bytes": 2.0**20,
    "text": "shop/web-7f9c GET /api/Cart",
}


def matches(text: str, item: Item = ITEM) -> bool:
    predicate = parse(text, SCHEMA)
    assert predicate
    return predicate(item)


@pytest.mark.parametrize(
    "text",
    [
        "cart",
        "CART get",
        '"GET /api"',
        "pod=shop/web",
        "pod=web",
        "pod=shop/web-*",
        "ns=shop",
        "ns=pay,shop",
        "ns=pay, shop",
        "ns!=pay",
        "ip=10.244.1.8",
        "ip=10.244.0.0/16",
        "route=shop/shop",
        "route=shop",
        "route=httproute/shop/*",
        "route~^HTTPRoute",
        "route!~pay",
        "http-status=503",
        "http-status=5xx",
        "http-status=5+",
        "http-status=500..599",
        "http-status>=500 http-status<504",
        "latency>250ms",
        "latency<=0.26s",
        "bytes=1MiB",
        "not nothing",
        "! nothing",
        "not not cart",
        "nothing or cart",
        "nothing and cart or cart",
        "cart and (nothing or ns=shop)",
        "NOT nothing AND cart",
        "cart ns=shop not http-status=4xx",
    ],
)
def test_takes(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "pod=eb",
        "pod=shop/cart",
        "ns=sho",
        "ns!=shop",
        "ip=10.245.0.0/16",
        "ip=::1",
        "route=other/shop",
        "http-status=4xx",
        "http-status!=503",
        "latency>1s",
        "bytes>1MiB",
        "not cart",
        "cart and nothing",
        "not (cart or nothing)",
        "cart and nothing or ns=pay",
    ],
)
def test_leaves_out(text: str) -> None:
    assert not matches(text)


def test_a_field_without_a_value_is_not_equal_to_anything() -> None:
    assert not matches("pod=web", {})
    assert matches("pod!=web", {})


def test_an_empty_filter_is_none() -> None:
    assert parse("  ", SCHEMA) is None


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("cart htp-status=5", 5, "did you mean http-status?"),
        ("zzz=1", 0, "known: pod ns"),
        ("(cart", 0, "not closed"),
        ("cart)", 4, "unexpected ')'"),
        ("ns=", 3, "a value is missing"),
        ("ns=a,", 5, "a value is missing"),
        ("cart and", 8, "before 'end of filter'"),
        ("=5", 0, "before '='"),
        ("http-status=abc", 12, "no number"),
        ("http-status=5q", 12, "no number"),
        ("ip=10.0.0.300", 3, "no address"),
        ("ns>5", 3, "is for numbers"),
        ("route~[", 6, "not a regular expression"),
        ('"cart', 0, "quotation mark"),
        ("(" * 60 + "a" + ")" * 60, 41, "too many parentheses"),
    ],
)
def test_errors_point_at_the_column(text: str, column: int, words: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text, SCHEMA)
    assert words in str(caught.value)
    assert caught.value.column == column


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    column, answer = 0, None
    try:
        predicate = parse(text, SCHEMA)
        answer = predicate(ITEM) if predicate else None
    except QueryError as error:
        column = error.column
    assert 0 <= column <= len(text)
    assert answer in (True, False, None)


@given(st.text(min_size=1, max_size=30).filter(lambda text: not set("*?[]") & set(text)))
def test_a_quoted_name_finds_itself(name: str) -> None:
    item: Item = {"route": name}
    predicate = parse(f"route={quoted(name)}", SCHEMA)
    assert predicate
    assert predicate(item)
