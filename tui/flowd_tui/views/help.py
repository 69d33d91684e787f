"""The help, made from the table of actions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from flowd_tui.data.store import Snapshot
from flowd_tui.draw.cells import Cell, Column, Line
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.key_bindings import ACTIONS
from flowd_tui.views.base import Detail, Query


class HelpRow(NamedTuple):
    """A key or a word of the filter language, and what it means."""

    number: int
    keys: str
    text: str
    style: str = ""


FILTERS = (
    ("word", "in source, destination, method, path, route or drop reason"),
    ("pod=shop/web", "pods that begin so; from-pod and to-pod for one side"),
    ("ns=shop,pay", "a comma means any of them"),
    ("ip=10.0.0.0/8  port=443", "an address or network; a port; from- and to- too"),
    ("verdict=dropped", "forwarded, dropped, error"),
    ("http-status=5xx", "404, 5xx, 500..599, >=400"),
    ("latency>250ms  bytes>1MiB", "units: us ms s, KiB MiB GiB"),
    ("route=shop/web  backend=*", "gateway listener route rule backend flag attribution"),
    ("http-path~^/api", "~ is a regular expression, != and !~ the contrary"),
    ("a b   not a   (a or b)", "and is understood between words"),
)


class HelpView:
    """Rows are HelpRows: keys first, then the filter language."""

    id = "help"
    title = "Help"
    columns: Sequence[Column] = (
        Column("keys", "KEYS", 26, 1, sortable=False),
        Column("text", "WHAT THEY DO", 20, 1, grow=1, sortable=False),
    )
    follows = False
    fields: Sequence[str] = ()
    order = ""

    def check(self, text: str) -> None:
        pass

    def rows(self, snapshot: Snapshot, query: Query) -> Sequence[HelpRow]:
        keys = [
            (action.shown, action.tooltip + (f" ({action.view})" if action.view else ""))
            for action in ACTIONS
        ]
        lines = [(k, t, "") for k, t in keys]
        lines += [("", "", ""), ("FILTER", "What can be typed after /", "title")]
        lines += [(k, t, "") for k, t in FILTERS]
        return [HelpRow(number, *line) for number, line in enumerate(lines)]

    def key(self, row: HelpRow) -> Hashable:
        return row.number

    def depth(self, row: HelpRow) -> int | None:
        return None

    def span(self, row: HelpRow) -> Cell | None:
        return None

    def cells(self, row: HelpRow, glyphs: Glyphs) -> Mapping[str, Cell]:
        keys = row.keys
        if glyphs.ascii:
            for arrow, name in zip("←→↑↓", ("left", "right", "up", "down"), strict=True):
                keys = keys.replace(arrow, name)
        return {"keys": Cell(" " + keys, row.style or "key"), "text": Cell(row.text, row.style)}

    def data(self, row: HelpRow) -> dict[str, object]:
        return {"keys": row.keys, "text": row.text}

    def detail(self, row: HelpRow, snapshot: Snapshot, glyphs: Glyphs) -> Detail:
        return Detail("", ())

    def count(self, rows: Sequence[HelpRow], snapshot: Snapshot, query: Query) -> str:
        return "? or esc closes the help"

    def empty(self, snapshot: Snapshot, query: Query) -> list[Line]:
        return []

    def within(self, row: HelpRow) -> str:
        return ""

    def observe(self, row: HelpRow) -> str:
        return "flowd observe --help"
