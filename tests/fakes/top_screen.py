"""The screen of `flowd top` in a test: a filled store, stopped clocks, and the screen as text."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from flowd_tui.app import TopApp
from flowd_tui.board import Options
from flowd_tui.data.store import TopStore
from flowd_tui.draw.glyphs import UTF8
from tests.fakes import top_data
from tests.fakes.top_data import BASE_NS


class Clock:
    """A monotonic clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def filled_store(flows: int = 300, seconds: int = 60) -> TopStore:
    """A store that is connected to the node of top_data."""
    store = TopStore("127.0.0.1:4245", clock=lambda: BASE_NS)
    store.connected()
    store.set_agent(top_data.status())
    store.set_topology(top_data.topology())
    for flow in top_data.flows(flows):
        store.add_flow(flow)
    for index in range(1 - seconds, 1):
        store.add_second(top_data.snapshot(index, BASE_NS + index * 10**9))
    return store


class Screen:
    """An app that runs without a terminal."""

    def __init__(self, app: TopApp, pilot: Pilot[None], store: TopStore, clock: Clock) -> None:
        self.app, self.pilot, self.store, self.clock = app, pilot, store, clock

    async def press(self, *keys: str) -> list[str]:
        """Press keys and return the screen."""
        await self.pilot.press(*keys)
        return await self.lines()

    async def lines(self) -> list[str]:
        """The screen as text, without blanks at the ends of lines."""
        self.app.update()
        await self.pilot.pause()
        # Textual offers no public way to the text of a screen.
        strips = self.app.screen._compositor.render_strips()  # pyright: ignore[reportPrivateUsage]
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


@asynccontextmanager
async def screen(
    store: TopStore, options: Options | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncGenerator[Screen]:
    """A running screen over a store."""
    clock = Clock()
    app = TopApp(store, None, options or Options(UTF8), clock)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield Screen(app, pilot, store, clock)
