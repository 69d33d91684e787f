"""Cells, columns and lines, as pure data: what a table shows before any terminal is involved."""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.draw.spark import spark


class Span(NamedTuple):
    """A piece of a line: its text, the name of its style, and the action of a click on it."""

    text: str
    style: str = ""
    action: str = ""


Line = list[Span]
PLENTY = 6


class Cell(NamedTuple):
    """Content of one table cell.

    Attributes:
        suffix: stays at the end of `text` when the text itself is cut.
        tails: variants, longest first, of which the first that fits stands at the right edge.
        series: drawn as a sparkline instead of text.
        short: stands for `text` where that does not fit.
    """

    text: str = ""
    style: str = ""
    suffix: str = ""
    tails: tuple[str, ...] = ()
    series: Sequence[float] = ()
    short: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `priority` 1 is kept longest, `grow` is its share of what is left over.

    Attributes:
        most: width up to which it grows; without `grow` at once, where there is plenty of room.
        at: width of the table below which the column is not shown at all.
    """

    id: str
    title: str
    width: int
    priority: int = 1
    right: bool = False
    grow: int = 0
    most: int = 1000
    sortable: bool = True
    at: int = 0


def columns_for(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that fit into `width` cells, in their order, each with its own width.

    Columns come in by priority, then by order, with one blank between two; the first one that does
    not fit ends its priority and all lower ones.
    """
    chosen: set[str] = set()
    used = -1
    for column in sorted(columns, key=lambda column: column.priority):
        if column.at > width:
            continue
        if chosen and used + 1 + column.width > width:
            break
        chosen.add(column.id)
        used += 1 + column.width
    shown = [column for column in columns if column.id in chosen]
    widths = {column.id: column.width for column in shown}
    left = width - used
    for column in shown:
        extra = column.most - column.width
        if not column.grow and PLENTY * extra <= left:
            widths[column.id] += extra
            left -= extra
    while left > 0:
        open_columns = [c for c in shown if c.grow and widths[c.id] < c.most]
        if not open_columns:
            break
        share = max(left // sum(c.grow for c in open_columns), 1)
        for column in open_columns:
            extra = min(share * column.grow, column.most - widths[column.id], left)
            widths[column.id] += extra
            left -= extra
    return [(column, widths[column.id]) for column in shown]


def draw(cell: Cell, width: int, glyphs: Glyphs, right: bool = False) -> str:
    """A cell as exactly `width` terminal cells."""
    if cell.series:
        return spark(cell.series, width, glyphs)
    text, suffix = glyphs.text(cell.text), glyphs.text(cell.suffix)
    for tail in map(glyphs.text, cell.tails):
        room = width - width_of(tail) - 1
        if width_of(text) <= room:
            return fit(text, room, glyphs) + " " + tail
    if cell.short and width_of(text) > width:
        text = glyphs.text(cell.short)
    if suffix and width_of(text) + width_of(suffix) > width:
        return fit(text, width - width_of(suffix), glyphs) + suffix
    return fit(text + suffix, width, glyphs, right)


def fit(text: str, width: int, glyphs: Glyphs, right: bool = False) -> str:
    """Text cut, with a sign for it, or padded to exactly `width` terminal cells."""
    if width <= 0:
        return ""
    length = width_of(text)
    if length > width:
        text, length = _cut(text, width - 1)
        text, length = text + glyphs.more, length + 1
    padding = " " * (width - length)
    return padding + text if right else text + padding


def line_width(line: Iterable[Span]) -> int:
    """Terminal cells of a line."""
    return sum(width_of(span.text) for span in line)


def pack(facts: Sequence[Line], width: int, height: int) -> list[Line]:
    """Facts as at most `height` lines, one each if there is room, else several to a line."""
    if len(facts) <= height:
        return list(facts)
    lines: list[Line] = []
    for fact in facts:
        if lines and line_width(lines[-1]) + 3 + line_width(fact) <= width:
            lines[-1] = [*lines[-1], Span("   "), *fact]
        else:
            lines.append(list(fact))
    return lines[:height]


def ends(left: Line, right: Line, width: int) -> Line:
    """A line with one part at each edge; the right one gives way when both do not fit."""
    gap = width - line_width(left) - line_width(right)
    return [*left, Span(" " * gap), *right] if gap > 0 else left


def width_of(text: str) -> int:
    """Terminal cells of printable text."""
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
