"""`flowd watch`: print the peers that a server knows, and every change of them."""

import asyncio
from typing import Any

import click

from flowd.observe.options.click_options import (
    OUTPUT,
    AliasedGroup,
    GroupedCommand,
    env_vars,
    option,
)
from flowd.observe.options.server_flags import server_options


@click.group("watch", cls=AliasedGroup, aliases={"peer": "peers"})
def command() -> None:
    """Watch the nodes that a server knows."""


@command.command("peers", cls=GroupedCommand)
@option(
    OUTPUT,
    "-o",
    "--output",
    default="compact",
    show_default=True,
    envvar=env_vars("OUTPUT"),
    type=click.Choice(["compact", "json"], case_sensitive=False),
    help="Format.",
)
@server_options
def peers(**params: Any) -> None:
    """Print every node that a server knows, then every change, until interrupted."""
    from flowd.observe.output.listing import peer_text
    from flowd.observe.sources.connect import make_client
    from flowd.observe.sources.stream import quiet_pipe, write

    client = make_client(params)

    async def watch() -> None:
        async with client:
            async for change in client.peers():
                write(peer_text(change, params["output"]))

    with quiet_pipe():
        try:
            asyncio.run(watch())
        except KeyboardInterrupt:
            return
