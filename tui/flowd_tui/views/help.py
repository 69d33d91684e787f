"""Help view: the keys of all actions, and examples of the filter language."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from flowd_tui.data.store import Snapshot
from flowd_tui.draw.cells import Cell, Column, Line
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import RowDetail, ViewQuery


class HelpRow(NamedTuple):
    """Keys or an example of the filter language, and their description."""

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
    """Rows are HelpRows: all keys, then examples of the filter language.

    Args:
        keys: keys and their description, from `key_bindings.key_table`.
    """

    id = "help"
    title = "Help"
    columns: Sequence[Column] = (
        Column("keys", "KEYS", 26, 1, sortable=False),
        Column("text", "WHAT THEY DO", 20, 1, grow=1, sortable=False),
    )
    follows_newest = False
    fields: Sequence[str] = ()
    default_sort = ""

    def __init__(self, keys: Sequence[tuple[str, str]]) -> None:
        self._keys = keys

    def check(self, text: str) -> None:
        pass

    def rows(self, snapshot: Snapshot, query: ViewQuery) -> Sequence[HelpRow]:
        lines = [(k, t, "") for k, t in self._keys]
        lines += [("", "", ""), ("FILTER", "What can be typed after /", "title")]
        lines += [(k, t, "") for k, t in FILTERS]
        return [HelpRow(number, *line) for number, line in enumerate(lines)]

    def key(self, row: HelpRow) -> Hashable:
        return row.number

    def depth(self, row: HelpRow) -> int | None:
        return None

    def spanning_cell(self, row: HelpRow) -> Cell | None:
        return None

    def cells(self, row: HelpRow, glyphs: Glyphs) -> Mapping[str, Cell]:
        keys = row.keys
        if glyphs.ascii:
            for arrow, name in zip("←→↑↓", ("left", "right", "up", "down"), strict=True):
                keys = keys.replace(arrow, name)
        return {"keys": Cell(" " + keys, row.style or "key"), "text": Cell(row.text, row.style)}

    def data(self, row: HelpRow) -> dict[str, object]:
        return {"keys": row.keys, "text": row.text}

    def detail(self, row: HelpRow, snapshot: Snapshot, glyphs: Glyphs) -> RowDetail:
        return RowDetail("", ())

    def count(self, rows: Sequence[HelpRow], snapshot: Snapshot, query: ViewQuery) -> str:
        return "? or esc closes the help"

    def empty(self, snapshot: Snapshot, query: ViewQuery) -> list[Line]:
        return []

    def flows_filter(self, row: HelpRow) -> str:
        return ""

    def observe_command(self, row: HelpRow) -> str:
        return "flowd observe --help"
