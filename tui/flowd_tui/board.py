"""Screen of `flowd top`: its widgets, and when each is redrawn.

The contents come from `chrome` and `views`, pure functions of a snapshot of the store.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Input

from flowd_tui import chrome
from flowd_tui.data.source import StoreReflector
from flowd_tui.data.store import WINDOWS, Snapshot, TopStore
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.draw.theme import PLAIN, STYLES, THEME
from flowd_tui.key_bindings import ACTIONS, key_table
from flowd_tui.order import StableOrder
from flowd_tui.views import VIEWS
from flowd_tui.views.base import View, ViewQuery
from flowd_tui.views.help import HelpView
from flowd_tui.widgets import LineTable, StyledLines

REFRESH_SECONDS = 0.2
MESSAGE_SECONDS = 4.0
SMALLEST = (60, 12)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the command line."""

    glyphs: Glyphs
    colors: bool = True
    view: str = "flows"
    window: int = WINDOWS[1]
    namespace: str = ""
    filter: str = ""


class Board(App[None]):
    """Textual app that shows a store.

    Args:
        source: fills the store while the app runs; None if the caller fills it.
        clock: monotonic seconds.
    """

    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    TITLE = "flowd top"
    CSS = """
    Screen { layout: vertical; overflow: hidden; }
    StyledLines { height: 1; }
    LineTable { height: 1fr; }
    #prompt { height: 1; display: none; }
    #slash { width: 3; }
    Input, Input:focus { border: none; height: 1; padding: 0; background: $panel; }
    #small { display: none; height: 1fr; }
    Screen.small > * { display: none; }
    Screen.small > #small { display: block; }
    """
    BINDINGS: ClassVar[list[Any]] = [
        Binding(
            ",".join(action.keys),
            f"run('{action.id}')",
            action.label,
            id=action.id,
            tooltip=action.tooltip,
            show=False,
            priority=action.id in ("next_view", "quit"),
        )
        for action in ACTIONS
    ]

    def __init__(
        self,
        store: TopStore,
        source: StoreReflector | None,
        options: Options,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(ansi_color=None if options.colors else True)
        self._store = store
        self._source = source
        self._clock = clock
        self._glyphs = options.glyphs
        styles = STYLES if options.colors else PLAIN
        views: tuple[View[Any], ...] = (
            *(make() for make in VIEWS.values()),
            HelpView(key_table()),
        )
        self._views = {view.id: view for view in views}
        self._view = options.view
        query = ViewQuery(filter=options.filter, namespace=options.namespace)
        self._queries = {name: ViewQuery(namespace=options.namespace) for name in self._views}
        self._queries[options.view] = query
        self._orders = {name: StableOrder() for name in self._views}
        self._history: list[tuple[str, ViewQuery]] = []
        self._before_help = options.view
        self._paused: tuple[float, Snapshot] | None = None
        self._snapshot = store.snapshot()
        self._drawn_version: tuple[object, ...] = ()
        self._detail = True
        self._detail_expanded = False
        self._query_before_prompt: ViewQuery | None = None
        self._error = ""
        self._message = ("", 0.0)
        self._row_count = ""
        self._pane_inputs: tuple[object, ...] = (None, None, 0, 0)
        self._header = StyledLines(self._glyphs, styles, id="header")
        self._tabs = StyledLines(self._glyphs, styles, id="tabs")
        self._query_line = StyledLines(self._glyphs, styles, id="query")
        self._table = LineTable(self._glyphs, styles, id="table")
        self._pane = StyledLines(self._glyphs, styles, id="detail")
        self._slash = StyledLines(self._glyphs, styles, id="slash")
        self._prompt = Horizontal(id="prompt")
        self._input = Input(id="filter", compact=True, select_on_focus=False)
        self._input.can_focus = False
        self._footer = StyledLines(self._glyphs, styles, id="footer")
        self._small = StyledLines(self._glyphs, styles, id="small")
        store.set_window(options.window)

    def compose(self) -> ComposeResult:
        yield from (self._header, self._tabs, self._query_line, self._table, self._pane)
        with self._prompt:
            yield from (self._slash, self._input)
        yield from (self._footer, self._small)

    def on_mount(self) -> None:
        self.register_theme(THEME)
        self.theme = THEME.name
        self._slash.show([[chrome.Span(" / ", "key")]])
        if self._source:
            self.run_worker(self._source.run(), name="source")
        self.set_interval(REFRESH_SECONDS, self.update)
        self.update()

    def on_resize(self) -> None:
        self.update(force=True)

    @property
    def view(self) -> View[Any]:
        """The current view."""
        return self._views[self._view]

    @property
    def query_now(self) -> ViewQuery:
        """The query of the current view."""
        return self._queries[self._view]

    def _set_query(self, query: ViewQuery) -> None:
        self._queries[self._view] = query
        self._orders[self._view].forget()
        self.update(force=True)

    def update(self, force: bool = False) -> None:
        """Redraw what changed since the last call; `force` redraws the table in any case."""
        store = self._store
        version = store.version if self._view == "flows" else store.state_version
        fresh = not self._paused and self._drawn_version != (self._view, version)
        if fresh:
            self._snapshot = store.snapshot()
        if force or fresh:
            self._drawn_version = (self._view, version)
            self._update_table()
        self._update_chrome()

    def _update_table(self) -> None:
        view, query, snapshot = self.view, self.query_now, self._snapshot
        rows = view.rows(snapshot, query)
        if rows and view.depth(rows[0]) is not None:
            rows = self._orders[self._view].settle(
                rows, view.key, lambda row: view.depth(row) or 0, self._clock()
            )
        empty = [] if rows else view.empty(snapshot, query)
        self._table.show(view, rows, empty, (query.sort or view.default_sort, self._descending))
        self._row_count = view.count(rows, snapshot, query)

    @property
    def _descending(self) -> bool:
        by_name = self._view == "gateways" and self.query_now.sort in ("", "name")
        return self.query_now.reverse if by_name else not self.query_now.reverse

    def _update_chrome(self) -> None:
        width, height = self.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        self.screen.set_class(small, "small")
        current = self._store.snapshot() if self._paused else self._snapshot
        if small:
            self._small.show(chrome.too_small(width, height, current))
            return
        pause = None
        if self._paused:
            new = current.received - self._snapshot.received
            pause = chrome.PauseState(self._clock() - self._paused[0], new)
        self._header.show([chrome.header(current, pause, width, self._glyphs)])
        titles = [(name, view.title) for name, view in self._views.items() if name != "help"]
        self._tabs.show([chrome.tabs(titles, self._view, width)])
        state = chrome.QueryState(
            sort_title=self._sort_title,
            descending=self._descending,
            window=self._snapshot.window if self._view == "gateways" else None,
            following=self._table.following and not self._paused,
            locked=self._orders[self._view].locked,
            row_count=self._row_count,
            error=self._error,
        )
        self._query_line.show([chrome.query_line(self.query_now, state, width, self._glyphs)])
        self._update_pane(width, height)
        self._footer.show([self._footer_line(width)])

    @property
    def _sort_title(self) -> str:
        sort = self.query_now.sort or self.view.default_sort
        return next((c.title for c in self.view.columns if c.id == sort), "").split(" / ")[0]

    def _update_pane(self, width: int, height: int) -> None:
        wide = width >= chrome.WIDE and height >= 30 and self._view == "gateways"
        room = 4 if width < 100 else 12 if wide else 8
        if self._detail_expanded:
            room = max(height - 12, room)
        row = self._table.current
        wanted = self._detail_expanded or (self._detail and height >= 20)
        self._pane.display = wanted and row is not None and self._view != "help"
        shown = (row, self._snapshot, width, room)
        if not self._pane.display or all(
            a is b for a, b in zip(shown, self._pane_inputs, strict=True)
        ):
            return
        self._pane_inputs = shown
        self._pane.styles.height = room
        detail = self.view.detail(row, self._snapshot, self._glyphs)
        self._pane.show(chrome.detail_lines(detail, width, room, self._glyphs))

    def _footer_line(self, width: int) -> chrome.Line:
        if self._query_before_prompt:
            return chrome.filter_footer(self.view.fields, width, self._glyphs)
        text, until = self._message
        if self._clock() < until:
            return [chrome.Span(f" {text}", "ok")]
        return chrome.footer(self._view, bool(self._paused), width, self._glyphs)

    def show_message(self, text: str) -> None:
        """Show a message in place of the footer for a few seconds."""
        self._message = (text, self._clock() + MESSAGE_SECONDS)
        self.update()
