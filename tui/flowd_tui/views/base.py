"""What every view offers to the table, the detail pane and `top --once`."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from flowd_tui.data.store import Link, Snapshot
from flowd_tui.draw.cells import Cell, Column, Line, Span
from flowd_tui.draw.glyphs import Glyphs

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Query:
    """What a person asked of a view.

    Attributes:
        toggled: keys of tree rows whose folding is not the default.
        sort: id of a column; "" for the view's own order.
    """

    filter: str = ""
    namespace: str = ""
    sort: str = ""
    reverse: bool = False
    toggled: frozenset[Hashable] = frozenset()


@dataclass(frozen=True, slots=True)
class Detail:
    """The detail of one row: a title, and facts for the left and the right side.

    Attributes:
        first: forms of one fact, longest first, of which the first that fits stands above the right
            side, and above everything in a single column.
    """

    title: str
    left: Sequence[Line]
    right: Sequence[Line] = ()
    first: Sequence[Line] = ()


class View(Protocol[Row]):
    """A table of rows made from a snapshot; nothing in it knows a terminal."""

    id: str
    title: str
    columns: Sequence[Column]
    order: str  # the column that the view's own order is named after
    fields: Sequence[str]  # of the filter language
    follows: bool  # the first row is the newest, and worth staying with

    def check(self, text: str) -> None:
        """Raise QueryError when the text is no filter of this view."""
        ...

    def rows(self, snapshot: Snapshot, query: Query) -> Sequence[Row]: ...
    def key(self, row: Row) -> Hashable: ...

    def depth(self, row: Row) -> int | None:
        """Depth in a tree; None for rows whose order need not be damped."""
        ...

    def cells(self, row: Row, glyphs: Glyphs) -> Mapping[str, Cell]: ...

    def span(self, row: Row) -> Cell | None:
        """A cell that takes the whole line, for rows that have no columns."""
        ...

    def data(self, row: Row) -> dict[str, object]:
        """The row for `-o json`, unrounded."""
        ...

    def detail(self, row: Row, snapshot: Snapshot, glyphs: Glyphs) -> Detail: ...
    def count(self, rows: Sequence[Row], snapshot: Snapshot, query: Query) -> str: ...
    def empty(self, snapshot: Snapshot, query: Query) -> list[Line]: ...

    def within(self, row: Row) -> str:
        """The filter of the Flows view that shows what is behind a row; "" for nothing."""
        ...

    def observe(self, row: Row) -> str:
        """The `flowd observe` command that shows the flows of a row."""
        ...


def label(name: str, *spans: Span | str) -> Line:
    """A named fact."""
    return [Span(f"{name} ", "dim"), *(Span(s) if isinstance(s, str) else s for s in spans)]


def waiting(snapshot: Snapshot, what: str) -> list[Line]:
    """Why a view is empty, and what to do about it."""
    server = snapshot.server
    if snapshot.link is Link.DISCONNECTED:
        return [
            [Span(f"No connection to {server}.", "bad")],
            [Span(snapshot.problem, "dim")],
            [],
            [Span("Trying again. Is an agent running there?   "), Span("sudo flowd run", "key")],
            [Span("Another one:   "), Span("flowd top --server HOST:PORT", "key")],
        ]
    if snapshot.link is Link.CONNECTING:
        return [[Span(f"Connecting to {server} …", "dim")]]
    troubled: list[Line] = [
        [Span(f"! {part} {state}", "warn"), Span(f"  {detail}", "dim")]
        for part, state, detail in snapshot.agent.troubled
    ]
    node = snapshot.agent.node or server
    return [[Span(f"No {what} yet on {node}.", "title")], *troubled]


def clock(time_ns: int) -> str:
    """Local time of day: `12:04:31.882`; a narrow column shows its first 8 characters."""
    moment = datetime.fromtimestamp(time_ns // 10**9).astimezone()
    return f"{moment:%H:%M:%S}.{time_ns // 10**6 % 1000:03d}"


def timestamp(time_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds."""
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"
