"""`flowd top`: watch flows and routes live in the terminal, or print one view with --once."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from flowd.errors import FlowdError, UsageError

if TYPE_CHECKING:
    from flowd_tui.board import Options
    from flowd_tui.draw.glyphs import Glyphs

WINDOWS = {"10s": 10, "1m": 60, "5m": 300, "15m": 900}


class ViewName(click.ParamType[str]):
    """A choice among the views of `flowd_tui`, which is imported when the value is read."""

    name = "view"

    @staticmethod
    def choice() -> click.Choice[str]:
        """The choice among the views."""
        from flowd_tui.key_bindings import VIEW_NAMES

        return click.Choice(VIEW_NAMES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self.choice().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self.choice().get_metavar(param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return self.choice().shell_complete(ctx, param, incomplete)


@click.command()
@click.option("--server", metavar="ADDR", help="Agent to watch [FLOWD_SERVER; 127.0.0.1:4245].")
@click.option("--view", type=ViewName(), default="flows", show_default=True)
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
    from flowd.client.client import Client
    from flowd.client.connection import server_address
    from flowd_tui.once import print_once
    from flowd_tui.views import VIEWS
    from flowd_tui.views.base import ViewQuery
    from flowd_tui.views.query import QueryError

    try:
        VIEWS[view]().check(filter_)
    except QueryError as error:
        raise UsageError(f"--filter, column {error.column + 1}: {error}") from None
    address, glyphs, seconds = server_address(server), _glyphs(ascii_), WINDOWS[window]
    client = Client(address)
    if once:
        query = ViewQuery(filter=filter_, namespace=namespace)
        for line in print_once(client, VIEWS[view](), query, seconds, output, glyphs):
            click.echo(line)
        return
    _require_terminal()
    from flowd_tui.board import Options

    options = Options(glyphs, _use_colors(no_color), view, seconds, namespace, filter_)
    _run_screen(address, options, mouse=not no_mouse)


def _glyphs(ascii_: bool) -> "Glyphs":
    from flowd_tui.draw.glyphs import ASCII, UTF8

    utf8 = "utf" in (sys.stdout.encoding or "").lower()
    return UTF8 if utf8 and not ascii_ else ASCII


def _require_terminal() -> None:
    """Check that Textual is installed and all standard streams are a terminal.

    Raises:
        UsageError: a stream is redirected; Textual draws on stderr.
        FlowdError: Textual is not installed.
    """
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError(
            "flowd top needs a terminal", "use `flowd top --once`, or `flowd observe --follow`"
        )
    try:
        import flowd_tui.app  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("textual", "rich"):
            raise
        raise FlowdError(
            "flowd top needs Textual, which is not installed", "pip install 'flowd-agent[top]'"
        ) from None


def _use_colors(no_color: bool) -> bool:
    """Whether to use colours; sets NO_COLOR so that Textual decides the same.

    Textual takes even an empty NO_COLOR for "no colours", and does not look at TERM.
    """
    colors = not (no_color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb")
    os.environ.pop("NO_COLOR", None)
    if not colors:
        os.environ["NO_COLOR"] = "1"
    return colors


def _run_screen(address: str, options: "Options", mouse: bool) -> None:
    from flowd.client.client import Client
    from flowd_tui.app import TopApp
    from flowd_tui.data.source import StoreReflector
    from flowd_tui.data.store import TopStore

    store = TopStore(address)
    source = StoreReflector(store, lambda: Client(address))
    TopApp(store, source, options).run(mouse=mouse)
