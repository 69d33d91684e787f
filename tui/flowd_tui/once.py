"""`flowd top --once`: one view as text, from the same rows and cells as the screen."""

import asyncio
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Any

from flowd.client.client import Unimplemented
from flowd.wire.observer import observer_pb2
from flowd_tui.data.source import LAST_FLOWS, Reader
from flowd_tui.data.store import Snapshot, Store
from flowd_tui.draw.cells import Cell, Column, columns_for, draw, width_of
from flowd_tui.draw.glyphs import Glyphs
from flowd_tui.views.base import Query, View

WIDEST = 200


def print_once(
    client: AbstractAsyncContextManager[Reader],
    view: View[Any],
    query: Query,
    window: int,
    output: str,
    glyphs: Glyphs,
) -> list[str]:
    """The lines to print.

    Raises:
        FlowdError: the server cannot be reached, or offers no routes when they are asked for.
    """
    snapshot = asyncio.run(collect(client, view.id, window))
    rows = view.rows(snapshot, query)
    if output == "json":
        return [json.dumps(view.data(row)) for row in rows if not view.span(row)]
    if not rows:
        lines = view.empty(snapshot, query)
        return ["".join(glyphs.text(span.text) for span in line) for line in lines]
    width = shutil.get_terminal_size((160, 24)).columns
    return list(table(view, rows, min(width, WIDEST), glyphs))


async def collect(client: AbstractAsyncContextManager[Reader], view: str, window: int) -> Snapshot:
    """What one view needs: the last flows, or the routes and the traffic up to now."""
    store = Store()
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
    """A header and a line a row, as the screen draws them, no wider than what is in them."""
    columns = [_fitted(column, view, rows, glyphs) for column in view.columns]
    layout = columns_for(columns, width)
    titles = {column.id: Cell(column.title) for column in columns}
    yield _line(layout, titles, glyphs)
    for row in rows:
        whole = view.span(row)
        yield whole.text if whole else _line(layout, dict(view.cells(row, glyphs)), glyphs)


def _fitted(column: Column, view: View[Any], rows: Sequence[Any], glyphs: Glyphs) -> Column:
    """The column, growing up to its widest cell and no further."""
    cells = [view.cells(row, glyphs).get(column.id, Cell()) for row in rows if not view.span(row)]
    widest = max(map(_wanted, cells), default=0)
    most = column.most if any(cell.series for cell in cells) else max(widest, column.width)
    return replace(column, most=most, grow=max(column.grow, 1))


def _wanted(cell: Cell) -> int:
    tail = width_of(cell.tails[0]) + 1 if cell.tails else 0
    return width_of(cell.text) + width_of(cell.suffix) + tail


def _line(layout: Sequence[tuple[Column, int]], cells: dict[str, Cell], glyphs: Glyphs) -> str:
    drawn = [draw(cells.get(c.id, Cell()), width, glyphs, c.right) for c, width in layout]
    return " ".join(drawn).rstrip()
