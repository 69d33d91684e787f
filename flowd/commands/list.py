"""`flowd list`: print the nodes or the namespaces that a server knows."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import click

from flowd.observe.options.click_options import (
    OUTPUT,
    AliasedGroup,
    GroupedCommand,
    env_vars,
    option,
)
from flowd.observe.options.server_flags import server_options

F = TypeVar("F", bound=Callable[..., Any])


def _output(function: F) -> F:
    return option(
        OUTPUT,
        "-o",
        "--output",
        default="table",
        show_default=True,
        envvar=env_vars("OUTPUT"),
        type=click.Choice(["table", "wide", "json"], case_sensitive=False),
        help="Format.",
    )(function)


@click.group("list", cls=AliasedGroup, aliases={"node": "nodes", "namespace": "namespaces"})
def command() -> None:
    """List nodes or namespaces."""


@command.command("nodes", cls=GroupedCommand)
@_output
@server_options
def nodes(**params: Any) -> None:
    """List the nodes behind a server, with their state and history."""
    from flowd.client.client import Client
    from flowd.observe.output.listing import nodes_text
    from flowd.observe.sources.connect import make_client

    async def ask(client: Client) -> str:
        async with client:
            return nodes_text((await client.nodes()).nodes, params["output"])

    click.echo(asyncio.run(ask(make_client(params))), nl=False)


@command.command("namespaces", cls=GroupedCommand)
@_output
@server_options
def namespaces(**params: Any) -> None:
    """List the namespaces that had flows lately."""
    from flowd.client.client import Client
    from flowd.observe.output.listing import namespaces_text
    from flowd.observe.sources.connect import make_client

    async def ask(client: Client) -> str:
        async with client:
            return namespaces_text((await client.namespaces()).namespaces, params["output"])

    click.echo(asyncio.run(ask(make_client(params))), nl=False)
