"""Save a screenshot of `flowd top` against a server as SVG (`make screenshot`)."""

import argparse
import asyncio
import re
import sys
from pathlib import Path

from flowd.client.client import Client
from flowd.diagnostics import report
from flowd.errors import ConnectError, FlowdError, TimedOut
from flowd_tui.app import TopApp
from flowd_tui.board import Options
from flowd_tui.data.source import StoreReflector
from flowd_tui.data.store import ConnectionState, TopStore
from flowd_tui.draw.glyphs import UTF8

ROWS = 10  # flows or requests to wait for


async def picture(given: argparse.Namespace) -> str:
    """Press the keys and capture the screen once it shows enough rows.

    Raises:
        ConnectError: the server cannot be reached.
        TimedOut: it had nothing to show for too long.
    """
    store = TopStore(given.server)
    source = StoreReflector(store, lambda: Client(given.server))
    app = TopApp(store, source, Options(UTF8, view=given.view))
    try:
        async with app.run_test(size=(given.width, given.height)) as pilot:
            async with asyncio.timeout(given.timeout):
                while not ready(store, given.view):
                    await pilot.pause(0.2)
            await pilot.pause(given.wait)
            if given.keys:
                await pilot.press(*given.keys.split(","))
            await pilot.pause(0.5)
            # The picture must not load fonts from another server.
            return re.sub(r"@font-face \{.*?\}", "", app.export_screenshot(), flags=re.DOTALL)
    except TimeoutError:
        if store.connection is not ConnectionState.LIVE:
            raise ConnectError(store.problem or f"cannot reach {given.server}") from None
        raise TimedOut(f"{given.server} had nothing to show for {given.timeout:g} s") from None


def ready(store: TopStore, view: str) -> bool:
    """True if the view has enough rows for a picture."""
    if view == "flows":
        return store.received >= ROWS
    snapshot = store.snapshot()
    requests = sum(cell.requests for cell in snapshot.totals.values())
    return requests >= ROWS and len(snapshot.topology.routes) > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:4245", help="agent to look at")
    parser.add_argument("--output", type=Path, default=Path("docs/top.svg"), help="file to write")
    parser.add_argument("--view", choices=["flows", "gateways"], default="gateways")
    parser.add_argument("--keys", default="down,down", help="keys to press, with commas")
    parser.add_argument("--width", type=int, default=132)
    parser.add_argument("--height", type=int, default=34)
    parser.add_argument("--wait", type=float, default=15.0, help="seconds of traffic to collect")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for any")
    given = parser.parse_args()
    try:
        svg = asyncio.run(picture(given))
    except FlowdError as error:
        return report(error)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(svg)
    print(f"wrote {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
