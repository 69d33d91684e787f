"""Textual widgets: fixed lines, and a table that renders only its visible rows."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from flowd_tui.draw.cells import Cell, Column, Line, Span, draw, fit, fit_columns, line_width
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import View

Styles = Mapping[str, Style]


class StyledLines(Widget):
    """Lines made by `chrome`; a click on a span with an action posts Clicked."""

    class Clicked(Message):
        """A span with an action was clicked."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, glyphs: Glyphs, styles: Styles, id: str) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._styles = styles
        self.lines: Sequence[Line] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """Replace the lines."""
        if lines != self.lines:
            self.lines = lines
            self.refresh()

    def render_line(self, y: int) -> Strip:
        line = self.lines[y] if y < len(self.lines) else []
        return strip(line, self.size.width, self._glyphs, self._styles, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        line = self.lines[event.y] if event.y < len(self.lines) else []
        x = 0
        for span in line:
            x += line_width([span])
            if event.x < x:
                if span.action:
                    self.post_message(self.Clicked(span.action))
                return


class LineTable(Widget):
    """Rows of a view under a header; the cursor stays on the row with the same key.

    Attributes:
        following: the cursor stays on the first row instead.
    """

    class Sort(Message):
        """The header of a column was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    class Moved(Message):
        """The cursor moved to another row."""

    def __init__(self, glyphs: Glyphs, styles: Styles, id: str) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._styles = styles
        self._view: View[Any] | None = None
        self._rows: Sequence[Any] = ()
        self._empty: Sequence[Line] = ()
        self._sort = ("", True)
        self._cursor = 0
        self._top = 0
        self._positions: dict[str, tuple[Hashable, int, int, bool]] = {}
        self.following = False

    @property
    def current(self) -> Any | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._rows else None

    @property
    def index(self) -> int:
        """Index of the cursor's row, from 0."""
        return self._cursor

    @property
    def page(self) -> int:
        """Number of rows that fit."""
        return max(self.size.height - 1, 1)

    def show(
        self,
        view: View[Any],
        rows: Sequence[Any],
        empty: Sequence[Line],
        sort: tuple[str, bool],
    ) -> None:
        """Replace the rows.

        Args:
            empty: lines shown without rows.
            sort: column, and whether the order is descending, for the mark in the header.
        """
        key = self._view.key(self.current) if self._view and self._rows else None
        before = self._cursor
        if view is not self._view:
            if self._view:
                self._positions[self._view.id] = (key, before, self._top, self.following)
            position = self._positions.get(view.id, (None, 0, 0, view.follows_newest))
            key, before, self._top, self.following = position
        self._view, self._rows, self._empty, self._sort = view, rows, empty, sort
        if self.following or key is None:
            self._cursor = self._top = 0
        else:
            self._cursor = self._find(key, before)
            self._top += self._cursor - before
        self._clamp()
        self.refresh()

    def _find(self, key: Hashable, near: int) -> int:
        """Index of the row with that key, searched outwards from `near`; `near` if not found."""
        assert self._view
        for distance in range(len(self._rows)):
            for index in (near + distance, near - distance):
                if 0 <= index < len(self._rows) and self._view.key(self._rows[index]) == key:
                    return index
        return near

    def _clamp(self) -> None:
        self._cursor = max(min(self._cursor, len(self._rows) - 1), 0)
        self._top = max(min(self._top, len(self._rows) - self.page), 0)
        self._top = min(max(self._top, self._cursor - self.page + 1), self._cursor)

    def move(self, index: int) -> None:
        """Move the cursor to the row with the nearest index."""
        self._cursor = index
        self._clamp()
        self.refresh()
        self.post_message(self.Moved())

    def move_to_parent(self) -> None:
        """Move the cursor to the parent of its row."""
        assert self._view
        depth = self._view.depth(self.current) or 0
        index = self._cursor
        while index and (self._view.depth(self._rows[index]) or 0) >= depth:
            index -= 1
        self.move(index)

    def on_resize(self) -> None:
        self._clamp()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self._view is None:
            return Strip.blank(width, self.rich_style)
        layout = fit_columns(self._view.columns, width)
        if y == 0:
            line, base = self._header(layout), self._styles["head"]
        elif not self._rows:
            index = y - 2 if self.size.height > len(self._empty) + 2 else y - 1
            inside = 0 <= index < len(self._empty)
            line, base = [Span("  "), *self._empty[index]] if inside else [], Style()
        elif self._top + y - 1 < len(self._rows):
            index = self._top + y - 1
            line = self._row(self._rows[index], layout, width)
            base = self._styles["cursor"] if index == self._cursor else Style()
        else:
            line, base = [], Style()
        return strip(line, width, self._glyphs, self._styles, self.rich_style + base)

    def _header(self, layout: Sequence[tuple[Column, int]]) -> Line:
        line: Line = []
        for column, width in layout:
            chosen, descending = column.id == self._sort[0], self._sort[1]
            mark = (self._glyphs.down if descending else self._glyphs.up) if chosen else ""
            room = width - len(mark)
            text = fit(column.title, min(len(column.title), room), self._glyphs) + mark
            style = "sorted" if chosen else "head"
            line.append(Span(fit(text, width, self._glyphs, column.right), style))
            line.append(Span(" ", "head"))
        return line[:-1]

    def _row(self, row: Any, layout: Sequence[tuple[Column, int]], width: int) -> Line:
        assert self._view
        cell = self._view.spanning_cell(row)
        if cell:
            return [Span(draw(cell, width, self._glyphs), cell.style)]
        cells = self._view.cells(row, self._glyphs)
        line: Line = []
        for column, room in layout:
            cell = cells.get(column.id, Cell())
            line.append(Span(draw(cell, room, self._glyphs, column.right), cell.style))
            line.append(Span(" "))
        return line[:-1]

    def on_click(self, event: events.Click) -> None:
        if event.y:
            if self._top + event.y - 1 < len(self._rows):
                self.move(self._top + event.y - 1)
            return
        x = 0
        for column, width in fit_columns(self._view.columns, self.size.width) if self._view else ():
            x += width + 1
            if event.x < x:
                if column.sortable:
                    self.post_message(self.Sort(column.id))
                return

    def on_mouse_scroll_down(self) -> None:
        self.move(self._cursor + 3)

    def on_mouse_scroll_up(self) -> None:
        self.move(self._cursor - 3)


def strip(line: Line, width: int, glyphs: Glyphs, styles: Styles, base: Style) -> Strip:
    """A line as a Textual Strip of exactly `width` cells, without markup or control characters."""
    segments = [Segment(glyphs.text(span.text), base + styles[span.style]) for span in line]
    return Strip(segments).adjust_cell_length(width, base)
