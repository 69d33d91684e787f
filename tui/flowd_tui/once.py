"""`flowd top --once`: render one view as text or JSON from the rows and cells of the screen."""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Any

from flowd.client.errors import Unimplemented
from flowd.wire.observer import observer_pb2
from flowd_tui.data.source import LAST_FLOWS, AgentClient
from flowd_tui.data.store import Snapshot, TopStore
from flowd_tui.draw.cells import Cell, Column, cell_width, draw, fit_columns
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import View, ViewQuery

WIDEST = 200


def print_once(
    client: AbstractAsyncContextManager[AgentClient],
    view: View[Any],
    query: ViewQuery,
    window: int,
    output: str,
    glyphs: Glyphs,
) -> list[str]:
    """Lines of a view without line ends.

    Args:
        window: seconds over which the Gateways view sums.
        output: table or json (one object a row).

    Raises:
        FlowdError: the server cannot be reached, or has no routes for the Gateways view.
    """
    snapshot = asyncio.run(collect(client, view.id, window))
    rows = view.rows(snapshot, query)
    if output == "json":
        return [json.dumps(view.data(row)) for row in rows if not view.spanning_cell(row)]
    if not rows:
        lines = view.empty(snapshot, query)
        return ["".join(glyphs.text(span.text) for span in line) for line in lines]
    width = shutil.get_terminal_size((160, 24)).columns
    return list(table(view, rows, min(width, WIDEST), glyphs))


async def collect(
    client: AbstractAsyncContextManager[AgentClient], view: str, window: int
) -> Snapshot:
    """Fetch the data of one view: the last flows, or the routes and the traffic history."""
    store = TopStore()
    store.set_window(window)
    async with client as reader:
        store.connected()
        if view == "flows":
            async for response in reader.get_flows(observer_pb2.GetFlowsRequest(number=LAST_FLOWS)):
                if response.HasField("flow"):
                    store.add_flow(response.flow)
            with suppress(Unimplemented):
                store.set_agent(await reader.agent_status())
        else:
            store.set_agent(await reader.agent_status())
            store.set_topology(await reader.routes())
            async for second in reader.watch():
                store.add_second(second)
                if not second.history:
                    break
    return store.snapshot()


def table(view: View[Any], rows: Sequence[Any], width: int, glyphs: Glyphs) -> Iterator[str]:
    """A header and one line for each row, no wider than their contents."""
    columns = [_fit_column(column, view, rows, glyphs) for column in view.columns]
    layout = fit_columns(columns, width)
    titles = {column.id: Cell(column.title) for column in columns}
    yield _line(layout, titles, glyphs)
    for row in rows:
        whole = view.spanning_cell(row)
        yield whole.text if whole else _line(layout, dict(view.cells(row, glyphs)), glyphs)


def _fit_column(column: Column, view: View[Any], rows: Sequence[Any], glyphs: Glyphs) -> Column:
    """The column with a maximum width of its widest cell."""
    cells = [
        view.cells(row, glyphs).get(column.id, Cell())
        for row in rows
        if not view.spanning_cell(row)
    ]
    widest = max(map(_text_width, cells), default=0)
    max_width = (
        column.max_width if any(cell.series for cell in cells) else max(widest, column.width)
    )
    return replace(column, max_width=max_width, grow=max(column.grow, 1))


def _text_width(cell: Cell) -> int:
    tail = cell_width(cell.tails[0]) + 1 if cell.tails else 0
    return cell_width(cell.text) + cell_width(cell.suffix) + tail


def _line(layout: Sequence[tuple[Column, int]], cells: dict[str, Cell], glyphs: Glyphs) -> str:
    drawn = [draw(cells.get(c.id, Cell()), width, glyphs, c.right) for c, width in layout]
    return " ".join(drawn).rstrip()
