"""Cells, columns and lines as pure data: column widths, cutting and padding to terminal cells."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.draw.spark import spark


class Span(NamedTuple):
    """A piece of a line: its text, its style in `theme`, and the action of a click on it."""

    text: str
    style: str = ""
    action: str = ""


Line = list[Span]
SPARE_FACTOR = 6
"""A column without `grow` is widened if this many times its growth is left over."""


class Cell(NamedTuple):
    """Content of one table cell.

    Attributes:
        suffix: text after `text` that is kept when `text` is cut.
        tails: right-aligned text in variants, longest first; the first that fits is shown.
        series: values of a sparkline, drawn instead of text.
        short: replacement of `text` where that does not fit.
    """

    text: str = ""
    style: str = ""
    suffix: str = ""
    tails: tuple[str, ...] = ()
    series: Sequence[float] = ()
    short: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; all widths are in terminal cells.

    Attributes:
        width: smallest width.
        priority: 1 is dropped last.
        right: right-aligned.
        grow: share of the width that is left over.
        max_width: width up to which the column grows; without `grow` it takes this width or none.
        min_table_width: width of the table below which the column is dropped.
    """

    id: str
    title: str
    width: int
    priority: int = 1
    right: bool = False
    grow: int = 0
    max_width: int = 1000
    sortable: bool = True
    min_table_width: int = 0


def fit_columns(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` cells, in their order, each with its width.

    Columns are added by priority, then by order, with one blank between two; the first one that
    does not fit ends the search.
    """
    chosen: set[str] = set()
    used = -1
    for column in sorted(columns, key=lambda column: column.priority):
        if column.min_table_width > width:
            continue
        if chosen and used + 1 + column.width > width:
            break
        chosen.add(column.id)
        used += 1 + column.width
    shown = [column for column in columns if column.id in chosen]
    widths = {column.id: column.width for column in shown}
    left = width - used
    for column in shown:
        extra = column.max_width - column.width
        if not column.grow and SPARE_FACTOR * extra <= left:
            widths[column.id] += extra
            left -= extra
    while left > 0:
        open_columns = [c for c in shown if c.grow and widths[c.id] < c.max_width]
        if not open_columns:
            break
        share = max(left // sum(c.grow for c in open_columns), 1)
        for column in open_columns:
            extra = min(share * column.grow, column.max_width - widths[column.id], left)
            widths[column.id] += extra
            left -= extra
    return [(column, widths[column.id]) for column in shown]


def draw(cell: Cell, width: int, glyphs: Glyphs, right: bool = False) -> str:
    """Text of a cell, exactly `width` terminal cells wide."""
    if cell.series:
        return spark(cell.series, width, glyphs)
    text, suffix = glyphs.text(cell.text), glyphs.text(cell.suffix)
    for tail in map(glyphs.text, cell.tails):
        room = width - cell_width(tail) - 1
        if cell_width(text) <= room:
            return fit(text, room, glyphs) + " " + tail
    if cell.short and cell_width(text) > width:
        text = glyphs.text(cell.short)
    if suffix and cell_width(text) + cell_width(suffix) > width:
        return fit(text, width - cell_width(suffix), glyphs) + suffix
    return fit(text + suffix, width, glyphs, right)


def fit(text: str, width: int, glyphs: Glyphs, right: bool = False) -> str:
    """Text cut (with an ellipsis) or padded to exactly `width` terminal cells."""
    if width <= 0:
        return ""
    length = cell_width(text)
    if length > width:
        text, length = _cut(text, width - 1)
        text, length = text + glyphs.more, length + 1
    padding = " " * (width - length)
    return padding + text if right else text + padding


def line_width(line: Iterable[Span]) -> int:
    """Width of a line in terminal cells."""
    return sum(cell_width(span.text) for span in line)


def pack(facts: Sequence[Line], width: int, height: int) -> list[Line]:
    """Pack facts into at most `height` lines: one a line if they fit, else several to a line."""
    if len(facts) <= height:
        return list(facts)
    lines: list[Line] = []
    for fact in facts:
        if lines and line_width(lines[-1]) + 3 + line_width(fact) <= width:
            lines[-1] = [*lines[-1], Span("   "), *fact]
        else:
            lines.append(list(fact))
    return lines[:height]


def justify(left: Line, right: Line, width: int) -> Line:
    """A line with one part at each edge; the right part is dropped if both do not fit."""
    gap = width - line_width(left) - line_width(right)
    return [*left, Span(" " * gap), *right] if gap > 0 else left


def cell_width(text: str) -> int:
    """Width of printable text in terminal cells (Unicode East Asian Width)."""
    return len(text) if text.isascii() else sum(map(_width, text))


@lru_cache(4096)
def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, width: int) -> tuple[str, int]:
    used = 0
    for index, char in enumerate(text):
        step = _width(char)
        if used + step > width:
            return text[:index], used
        used += step
    return text, used
