"""Actions of `flowd top`: the methods that keys and clicks call."""

from dataclasses import replace

from textual.widgets import Input

from flowd_tui.board import Board
from flowd_tui.data.store import WINDOWS
from flowd_tui.draw.cells import fit_columns
from flowd_tui.key_bindings import BY_ID, VIEW_ACTION, VIEW_NAMES
from flowd_tui.views.base import ViewQuery
from flowd_tui.views.gateways import GatewayRow
from flowd_tui.views.query import QueryError
from flowd_tui.widgets import LineTable, StyledLines

HELP_ACTIONS = (
    *(VIEW_ACTION + name for name in VIEW_NAMES),
    "help", "back", "quit", "suspend", "next_view", "down", "up", "page_down", "page_up", "first", "last",
)  # fmt: skip


class TopApp(Board):
    """The screen with its actions: method `do_x` performs action `x` of `key_bindings.ACTIONS`."""

    def action_run(self, name: str) -> None:
        """Perform the action of that id if the current view has it."""
        action = BY_ID[name]
        if self._view == "help" and name not in HELP_ACTIONS:
            return
        if name.startswith(VIEW_ACTION):
            self._history.clear()
            self._show_view(name.removeprefix(VIEW_ACTION))
        elif action.view in ("", self._view):
            getattr(self, f"do_{name}")()

    def on_styled_lines_clicked(self, event: StyledLines.Clicked) -> None:
        self.action_run(event.action)

    def on_line_table_moved(self) -> None:
        self._update_chrome()

    def on_line_table_sort(self, event: LineTable.Sort) -> None:
        query = self.query_now
        if event.column == (query.sort or self.view.default_sort):
            self.do_reverse()
        else:
            self._set_query(replace(query, sort=event.column, reverse=False))

    def _show_view(self, view: str) -> None:
        self._view, self._detail_expanded, self._error = view, False, ""
        self.update(force=True)

    def do_next_view(self) -> None:
        if self._query_before_prompt:
            self._complete()
        else:
            at = VIEW_NAMES.index(self._view) if self._view in VIEW_NAMES else -1
            self._show_view(VIEW_NAMES[(at + 1) % len(VIEW_NAMES)])

    def do_help(self) -> None:
        if self._view == "help":
            self._show_view(self._before_help)
        else:
            self._before_help = self._view
            self._show_view("help")

    def do_quit(self) -> None:
        self.exit()

    def do_suspend(self) -> None:
        self.action_suspend_process()

    def _move(self, index: int) -> None:
        self._table.following = False
        self._table.move(index)

    def do_down(self) -> None:
        self._move(self._table.index + 1)

    def do_up(self) -> None:
        self._move(self._table.index - 1)

    def do_page_down(self) -> None:
        self._move(self._table.index + self._table.page)

    def do_page_up(self) -> None:
        self._move(self._table.index - self._table.page)

    def do_first(self) -> None:
        self._move(0)

    def do_last(self) -> None:
        self._move(10**9)

    def do_follow(self) -> None:
        self._table.following = not self._table.following
        self.update(force=True)

    def do_pause(self) -> None:
        self._paused = None if self._paused else (self._clock(), self._snapshot)
        self.update(force=True)

    def do_detail(self) -> None:
        self._detail, self._detail_expanded = not (self._detail or self._detail_expanded), False
        self.update()

    def do_open(self) -> None:
        row = self._table.current
        if row is None or self._view == "help":
            return
        self._table.following = False
        flows_filter = self.view.flows_filter(row)
        if flows_filter:
            self._history.append((self._view, self._queries["flows"]))
            self._queries["flows"] = replace(self._queries["flows"], filter=flows_filter)
            self._show_view("flows")
            self._table.following = True
            self.update(force=True)
        else:
            self._detail_expanded = not self._detail_expanded
            self.update()

    def do_back(self) -> None:
        if self._query_before_prompt:
            self._close_prompt(self._query_before_prompt)
        elif self._view == "help":
            self.do_help()
        elif self._detail_expanded:
            self._detail_expanded = False
            self.update()
        elif self._history:
            view, self._queries["flows"] = self._history.pop()
            self._show_view(view)
        elif self.query_now.filter:
            self._set_query(replace(self.query_now, filter=""))

    def do_sort_next(self, step: int = 1) -> None:
        shown = fit_columns(self.view.columns, self._table.size.width)
        names = [column.id for column, _ in shown if column.sortable]
        sort = self.query_now.sort or self.view.default_sort
        at = names.index(sort) + step if sort in names else 0
        self._set_query(replace(self.query_now, sort=names[at % len(names)], reverse=False))

    def do_sort_previous(self) -> None:
        self.do_sort_next(-1)

    def do_reverse(self) -> None:
        self._set_query(replace(self.query_now, reverse=not self.query_now.reverse))

    def do_lock(self) -> None:
        order = self._orders[self._view]
        order.locked = not order.locked
        self.update(force=True)

    def do_window(self) -> None:
        if self._paused:
            self.show_message("paused: space resumes, then t changes the window")
            return
        at = WINDOWS.index(self._snapshot.window)
        self._store.set_window(WINDOWS[(at + 1) % len(WINDOWS)])
        self._set_query(self.query_now)

    def do_fold(self) -> None:
        row: GatewayRow | None = self._table.current
        if row and row.open:
            self._toggle(row)
        elif row and row.depth:
            self._table.move_to_parent()

    def do_unfold(self) -> None:
        row: GatewayRow | None = self._table.current
        if row and row.open is False:
            self._toggle(row)

    def _toggle(self, row: GatewayRow) -> None:
        self._table.following = False
        toggled = self.query_now.toggled ^ {row.node.key}
        self._queries[self._view] = replace(self.query_now, toggled=toggled)
        self.update(force=True)

    def do_copy(self) -> None:
        row = self._table.current
        if row is not None:
            cells = self.view.cells(row, self._glyphs)
            words = [cells[c.id] for c in self.view.columns if c.id in cells]
            self._copy("  ".join((w.text + w.suffix).strip() for w in words if w.text))

    def do_copy_command(self) -> None:
        row = self._table.current
        if row is not None:
            self._copy(self.view.observe_command(row))

    def _copy(self, text: str) -> None:
        self.copy_to_clipboard(text)
        self.show_message(f"copied: {text}")

    # Actions of the filter prompt

    def do_filter(self) -> None:
        self._query_before_prompt = self.query_now
        self._prompt.display = True
        self._input.can_focus = True
        self._input.value = self.query_now.filter
        self._input.cursor_position = len(self._input.value)
        self._input.focus()
        self.update()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._query_before_prompt is None:
            return
        try:
            self.view.check(event.value)
        except QueryError as error:
            self._error = f"column {error.column + 1}: {error}"
            self._update_chrome()
            return
        self._error = ""
        self._set_query(replace(self.query_now, filter=event.value.strip()))

    def on_input_submitted(self) -> None:
        self._close_prompt(self.query_now)

    def _close_prompt(self, query: ViewQuery) -> None:
        self._query_before_prompt, self._error = None, ""
        self._prompt.display = False
        self._input.can_focus = False
        self.screen.set_focus(None)
        self._set_query(query)

    def _complete(self) -> None:
        """Complete the field name before the cursor if it has only one completion."""
        text = self._input.value[: self._input.cursor_position]
        start = max(text.rfind(sign) for sign in " (!") + 1
        matches = [name for name in self.view.fields if name.startswith(text[start:])]
        if len(matches) == 1:
            self._input.insert_text_at_cursor(matches[0][len(text) - start :] + "=")
