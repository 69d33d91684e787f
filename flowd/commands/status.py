"""`flowd status`: print an agent's health, parts, memory and losses."""

import asyncio
from typing import Any

import click

from flowd.errors import ExitCode
from flowd.observe.options.click_options import OUTPUT, GroupedCommand, env_vars, option
from flowd.observe.options.server_flags import server_options


@click.command("status", cls=GroupedCommand)
@option(
    OUTPUT,
    "-o",
    "--output",
    default="compact",
    show_default=True,
    envvar=env_vars("OUTPUT"),
    type=click.Choice(["compact", "dict", "json", "table"], case_sensitive=False),
    help="Format.",
)
@server_options
def command(**params: Any) -> ExitCode:
    """Show what an agent does, and what it lost.

    \b
    Examples:
      flowd status
      flowd status -o json | jq .agent.losses
      flowd status --server unix:///var/run/flowd/hubble.sock

    Exits with 3 when no server is reached, with 1 when it does not serve.
    """
    from flowd.observe.output.status import FORMATS, ask
    from flowd.observe.sources.connect import make_client

    report = asyncio.run(ask(make_client(params)))
    click.echo(FORMATS[params["output"]](report), nl=False)
    return ExitCode.DONE if report.serving else ExitCode.FAILED
