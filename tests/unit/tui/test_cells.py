"""Cells, columns, sparklines and the stable order of rows, without a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flowd.text import printable
from flowd_tui.draw.cells import (
    Cell,
    Column,
    Span,
    cell_width,
    draw,
    fit,
    fit_columns,
    justify,
    pack,
)
from flowd_tui.draw.glyphs import ASCII, UTF8
from flowd_tui.draw.spark import resample, spark
from flowd_tui.order import StableOrder


@given(st.text(max_size=40), st.integers(1, 30), st.booleans())
def test_fit_is_exact(text: str, width: int, right: bool) -> None:
    drawn = fit(printable(text), width, UTF8, right)
    assert cell_width(drawn) == width


@pytest.mark.parametrize("text", ["web-7f9c", "été", "日本語", "e\u0301", "✓→▼…", "naïve/ü"])
def test_widths_are_those_of_the_terminal_library(text: str) -> None:
    assert cell_width(text) == cell_len(text)


@pytest.mark.parametrize(
    ("cell", "width", "drawn"),
    [
        (Cell("abc"), 5, "abc  "),
        (Cell("abcdef"), 4, "abc…"),
        (Cell("namespace/name", suffix=":8080"), 12, "namesp…:8080"),
        (Cell("a/b", suffix=":80"), 8, "a/b:80  "),
        (Cell("12:00:01.123", short="12:00:01"), 9, "12:00:01 "),
        (Cell("echo", tails=("w 95  seen 94.7%", "w95 94.7%")), 24, "echo    w 95  seen 94.7%"),
        (Cell("echo", tails=("w 95  seen 94.7%", "w95 94.7%")), 16, "echo   w95 94.7%"),
        (Cell("echo-and-more", tails=("w95",)), 14, "echo-and-more "),
        (Cell(series=[0, 1, 2]), 3, " ▄█"),
        (Cell("日本語"), 5, "日本…"),
    ],
)
def test_draw(cell: Cell, width: int, drawn: str) -> None:
    assert draw(cell, width, UTF8) == drawn


def test_ascii_draws_nothing_else() -> None:
    assert draw(Cell("é✓日"), 6, ASCII) == "???   "
    assert draw(Cell("abcdef"), 4, ASCII) == "abc~"


COLUMNS = [
    Column("name", "NAME", 10, 1, grow=2, max_width=20),
    Column("when", "WHEN", 8, 2, max_width=12),
    Column("extra", "EXTRA", 6, 3, grow=1),
    Column("rare", "RARE", 5, 4, min_table_width=100),
]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (5, {"name": 10}),
        (18, {"name": 18}),
        (19, {"name": 10, "when": 8}),
        (20, {"name": 11, "when": 8}),
        (26, {"name": 10, "when": 8, "extra": 6}),
        (60, {"name": 20, "when": 12, "extra": 26}),
        (120, {"name": 20, "when": 12, "extra": 80, "rare": 5}),
    ],
)
def test_columns_by_priority_and_width(width: int, expected: dict[str, int]) -> None:
    assert {c.id: w for c, w in fit_columns(COLUMNS, width)} == expected


@given(st.integers(10, 300))
def test_columns_fill_the_width_and_no_more(width: int) -> None:
    layout = fit_columns(COLUMNS, width)
    used = sum(w for _, w in layout) + len(layout) - 1
    assert used <= width


def test_a_steady_load_is_full_and_none_is_empty() -> None:
    assert spark([1000] * 4, 4, UTF8) == "████"
    assert spark([0] * 4, 4, UTF8) == "    "
    assert spark([1000, 1001], 2, UTF8) == "██"
    assert spark([1, 1000], 2, UTF8) == "▁█"
    assert spark([0, 50, 100], 5, ASCII) == "   =@"


@given(st.lists(st.floats(0, 1e12), max_size=50), st.integers(1, 40))
def test_sparklines_are_exact_in_width(values: list[float], width: int) -> None:
    assert len(spark(values, width, UTF8)) == width


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=50), st.integers(1, 40))
def test_resampling_keeps_the_extent(values: list[int], width: int) -> None:
    points = resample(values, width)
    assert len(points) == min(len(values), width)
    assert min(values) <= min(points) <= max(points) <= max(values)


def test_facts_are_packed_only_when_there_is_no_room() -> None:
    facts = [[Span("one")], [Span("two")], [Span("three")]]
    assert pack(facts, 40, 3) == facts
    packed = pack(facts, 12, 2)
    assert ["".join(span.text for span in line) for line in packed] == ["one   two", "three"]


def test_the_right_end_gives_way() -> None:
    left, right = [Span("left")], [Span("right")]
    assert "".join(s.text for s in justify(left, right, 12)) == "left   right"
    assert justify(left, right, 8) == left


class TestOrder:
    def settle(self, order: StableOrder, rows: str, now: float) -> str:
        return "".join(order.settle(rows, str, lambda _: 0, now))

    def test_rows_move_at_most_every_two_seconds(self) -> None:
        order = StableOrder()
        assert self.settle(order, "abcd", 10.0) == "abcd"
        assert self.settle(order, "dabc", 11.0) == "abcd"
        assert self.settle(order, "dabc", 12.5) == "dabc"
        assert self.settle(order, "abcd", 13.0) == "dabc"

    def test_a_neighbour_is_not_worth_a_move(self) -> None:
        order = StableOrder()
        self.settle(order, "abcd", 0.0)
        assert self.settle(order, "bacd", 50.0) == "abcd"
        assert self.settle(order, "bcad", 60.0) == "bcad"

    def test_locked_rows_stay_and_new_ones_come_last(self) -> None:
        order = StableOrder()
        self.settle(order, "abc", 0.0)
        order.locked = True
        assert self.settle(order, "xcba", 90.0) == "abcx"
        assert self.settle(order, "cb", 99.0) == "bc"

    def test_children_follow_their_parent(self) -> None:
        order = StableOrder()
        order.settle(["a", "a1", "a2", "b", "b1"], str, lambda row: len(row) - 1, 0.0)
        order.locked = True
        rows = order.settle(["b", "b1", "a", "a2", "a1"], str, lambda row: len(row) - 1, 9.0)
        assert list(rows) == ["a", "a1", "a2", "b", "b1"]

    def test_forgetting_takes_the_next_order(self) -> None:
        order = StableOrder()
        self.settle(order, "abc", 0.0)
        order.forget()
        assert self.settle(order, "cba", 0.1) == "cba"
