"""`flowd top`: flows and routes, live in the terminal."""

import os
import sys

import click

from flowd.errors import FlowdError, UsageError

WINDOWS = {"10s": 10, "1m": 60, "5m": 300, "15m": 900}


@click.command()
@click.option("--server", metavar="ADDR", help="Agent to watch [FLOWD_SERVER; 127.0.0.1:4245].")
@click.option(
    "--view", type=click.Choice(["flows", "gateways"]), default="flows", show_default=True
)
@click.option(
    "--window",
    type=click.Choice(list(WINDOWS)),
    default="1m",
    show_default=True,
    help="Time over which the Gateways view sums.",
)
@click.option("-n", "--namespace", default="", help="Only what has to do with this namespace.")
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="EXPR",
    help="Only what matches: words, field=value, and, or, not.",
)
@click.option("--once", is_flag=True, help="Print the view as text and exit.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="Form of --once; json is one object a row.",
)
@click.option("--ascii", "ascii_", is_flag=True, help="No characters beyond ASCII.")
@click.option("--no-color", is_flag=True, help="No colours (also with NO_COLOR and TERM=dumb).")
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal.")
def command(
    server: str | None,
    view: str,
    window: str,
    namespace: str,
    filter_: str,
    once: bool,
    output: str,
    ascii_: bool,
    no_color: bool,
    no_mouse: bool,
) -> None:
    """Watch flows and routes live in the terminal.

    \b
    flowd top                                 every flow; ? shows the keys
    flowd top --view gateways                 rate, errors and latency by route
    flowd top --filter 'ns=shop not verdict=forwarded'
    flowd top --view gateways --once -o json  the same for a program
    """  # fmt: skip
    from flowd.client.client import Client, server_address
    from flowd_tui.draw.glyphs import ASCII, UTF8
    from flowd_tui.once import print_once
    from flowd_tui.views import VIEWS
    from flowd_tui.views.base import Query
    from flowd_tui.views.query import QueryError

    try:
        VIEWS[view]().check(filter_)
    except QueryError as error:
        raise UsageError(f"--filter, column {error.column + 1}: {error}") from None
    address = server_address(server)
    client = Client(address)
    utf8 = "utf" in (sys.stdout.encoding or "").lower()
    glyphs = ASCII if ascii_ or not utf8 else UTF8
    if once:
        query = Query(filter=filter_, namespace=namespace)
        for line in print_once(client, VIEWS[view](), query, WINDOWS[window], output, glyphs):
            click.echo(line)
        return
    # Textual draws on stderr.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError(
            "flowd top needs a terminal", "use `flowd top --once`, or `flowd observe --follow`"
        )
    try:
        from flowd_tui.app import TopApp
        from flowd_tui.board import Options
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("textual", "rich"):
            raise
        raise FlowdError(
            "flowd top needs Textual, which is not installed", "pip install 'flowd-agent[top]'"
        ) from None
    from flowd_tui.data.source import Source
    from flowd_tui.data.store import Store

    colors = not (no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb")
    # Textual takes even an empty NO_COLOR for a wish, and looks nowhere else.
    os.environ.pop("NO_COLOR", None)
    if not colors:
        os.environ["NO_COLOR"] = "1"
    store = Store(address)
    source = Source(store, lambda: Client(address))
    options = Options(glyphs, colors, view, WINDOWS[window], namespace, filter_)
    TopApp(store, source, options).run(mouse=not no_mouse)
