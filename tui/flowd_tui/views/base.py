"""View protocol of the table, the detail pane and `top --once`; query and detail of a view."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from flowd_tui.data.store import ConnectionState, Snapshot
from flowd_tui.draw.cells import Cell, Column, Line, Span
from flowd_tui.draw.glyphs import Glyphs

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class ViewQuery:
    """Filter, order and folding that the user chose for a view.

    Attributes:
        filter: text of the filter language, see `query`.
        sort: id of a column; "" for the view's own order.
        toggled: keys of tree rows that are not in their default state of folding.
    """

    filter: str = ""
    namespace: str = ""
    sort: str = ""
    reverse: bool = False
    toggled: frozenset[Hashable] = frozenset()


@dataclass(frozen=True, slots=True)
class RowDetail:
    """Detail pane of one row: a title, and facts for the left and the right column.

    Attributes:
        first: variants of one fact, longest first; the first that fits is shown above the right
            column, or above all facts in a single column.
    """

    title: str
    left: Sequence[Line]
    right: Sequence[Line] = ()
    first: Sequence[Line] = ()


class View(Protocol[Row]):
    """A table whose rows are computed from a snapshot, independent of any terminal."""

    id: str
    title: str
    columns: Sequence[Column]
    default_sort: str  # column whose title names the view's own order
    fields: Sequence[str]  # field names of the filter language
    follows_newest: bool  # the cursor starts on the first row and stays there

    def check(self, text: str) -> None:
        """Raise QueryError if the text is not a filter of this view."""
        ...

    def rows(self, snapshot: Snapshot, query: ViewQuery) -> Sequence[Row]: ...
    def key(self, row: Row) -> Hashable: ...

    def depth(self, row: Row) -> int | None:
        """Depth in a tree; None for rows whose order is not damped by StableOrder."""
        ...

    def cells(self, row: Row, glyphs: Glyphs) -> Mapping[str, Cell]: ...

    def spanning_cell(self, row: Row) -> Cell | None:
        """A cell across all columns, for rows without columns; else None."""
        ...

    def data(self, row: Row) -> dict[str, object]:
        """Fields of the row for `-o json`, not rounded."""
        ...

    def detail(self, row: Row, snapshot: Snapshot, glyphs: Glyphs) -> RowDetail: ...
    def count(self, rows: Sequence[Row], snapshot: Snapshot, query: ViewQuery) -> str: ...
    def empty(self, snapshot: Snapshot, query: ViewQuery) -> list[Line]: ...

    def flows_filter(self, row: Row) -> str:
        """Filter of the Flows view for the flows of a row; "" if there are none."""
        ...

    def observe_command(self, row: Row) -> str:
        """The `flowd observe` command that shows the flows of a row."""
        ...


def label(name: str, *spans: Span | str) -> Line:
    """A fact of the detail pane: a dim name, then the value."""
    return [Span(f"{name} ", "dim"), *(Span(s) if isinstance(s, str) else s for s in spans)]


def empty_lines(snapshot: Snapshot, noun: str) -> list[Line]:
    """Lines of an empty view: the reason and a remedy. `noun` names the missing rows."""
    server = snapshot.server
    if snapshot.connection is ConnectionState.DISCONNECTED:
        return [
            [Span(f"No connection to {server}.", "bad")],
            [Span(snapshot.problem, "dim")],
            [],
            [Span("Trying again. Is an agent running there?   "), Span("sudo flowd run", "key")],
            [Span("Another one:   "), Span("flowd top --server HOST:PORT", "key")],
        ]
    if snapshot.connection is ConnectionState.CONNECTING:
        return [[Span(f"Connecting to {server} …", "dim")]]
    degraded_parts: list[Line] = [
        [Span(f"! {part} {state}", "warn"), Span(f"  {detail}", "dim")]
        for part, state, detail in snapshot.agent.degraded_parts
    ]
    node = snapshot.agent.node or server
    return [[Span(f"No {noun} yet on {node}.", "title")], *degraded_parts]


def clock(time_ns: int) -> str:
    """Local time of day: `12:04:31.882`; a narrow column shows its first 8 characters."""
    moment = datetime.fromtimestamp(time_ns // 10**9).astimezone()
    return f"{moment:%H:%M:%S}.{time_ns // 10**6 % 1000:03d}"


def timestamp(time_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds."""
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"
