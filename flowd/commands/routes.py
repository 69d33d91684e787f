"""`flowd routes`: Gateway API routes matched, listed and compared, from manifests or an agent."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from flowd.errors import FlowdError, UsageError

if TYPE_CHECKING:
    from flowd.gateway.listing import SplitKey
    from flowd.gateway.table import RouteTable
    from flowd.model.describe import Description

F = TypeVar("F", bound=Callable[..., Any])

DIALECTS = ("spec", "eg", "cilium", "istio", "contour", "kgateway")


@click.group("routes")
def command() -> None:
    """Match requests against Gateway API routes, list and compare them."""


def _manifests(required: bool) -> Callable[[F], F]:
    return click.option(
        "--manifests",
        multiple=True,
        required=required,
        metavar="PATH",
        help="File or folder of Kubernetes YAML. Repeatable.",
    )


_dialect = click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    default="spec",
    show_default=True,
    help="Whose order of matches and handling of paths to follow; eg is Envoy Gateway.",
)
_server = click.option(
    "--server", metavar="ADDR", help="Agent to ask: host:port, tls://host:port or unix:///path."
)
_output = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Format.",
)


@command.command("match")
@_manifests(required=True)
@_dialect
@click.option(
    "--requests",
    required=True,
    type=click.File("rb"),
    metavar="FILE|-",
    help="Requests, one JSON object a line.",
)
@click.option(
    "-o", "--output", type=click.Choice(["json"]), default="json", show_default=True, help="Format."
)
def match(manifests: tuple[str, ...], dialect: str, requests: BinaryIO, output: str) -> None:
    """Tell which route takes each request, and what happens to it.

    \b
    A request is {gateway?, listener?, port?, sni?, host, path, method, headers, scheme?}, gateway
    being namespace/name and port the listener's. The answers come as JSON lines in the same order:
      {gateway, listener, route: {kind, namespace, name, rule, match, rule_name} | null,
       action: forward|redirect|respond|reject, status, backends, redirect?, rewritten?,
       mirrors?, reason}

    \b
    Example:
      echo '{"host": "www.example.com", "path": "/login"}' |
        flowd routes match --manifests ./k8s --requests -

    Exits with 1 when a line was no request; its answer is a rejection that says why.
    """
    from flowd.gateway.matchlines import answer_lines

    table = _table(manifests, dialect)
    failures = answer_lines(table, requests, sys.stdout.buffer)
    if failures:
        number, problem = failures[0]
        count = "1 line was" if len(failures) == 1 else f"{len(failures)} lines were"
        raise FlowdError(f"{requests.name}: {count} no request, first line {number}: {problem}")


@command.command("list")
@_manifests(required=False)
@_dialect
@_server
@_output
def list_routes(manifests: tuple[str, ...], dialect: str, server: str | None, output: str) -> None:
    """List Gateways, listeners, routes, why they are attached or not, and backends.

    From --manifests; without them from an agent.
    """
    from flowd.gateway.listing import gateway_rows, route_rows, rule_rows
    from flowd.observe.table import columns

    if manifests and server:
        raise UsageError("--manifests and --server exclude each other", "leave one of them out")
    known = _described(manifests, dialect) if manifests else asyncio.run(_routes(server))
    if output == "json":
        click.echo(_json(known))
        return
    tables = (gateway_rows(known), route_rows(known), rule_rows(known))
    click.echo("\n".join(columns(rows) for rows in tables), nl=False)


@command.command("split")
@_manifests(required=False)
@_dialect
@_server
@_output
def split(manifests: tuple[str, ...], dialect: str, server: str | None, output: str) -> None:
    """Compare how requests are shared between backends with the weights that are wanted.

    With --manifests alone only what is wanted; with an agent also what it saw in the last minutes.
    """
    from flowd.gateway.listing import share_rows, shares
    from flowd.observe.table import columns

    asked = bool(server) or not manifests
    known = _described(manifests, dialect) if manifests else asyncio.run(_routes(server))
    found = shares(known, asyncio.run(_requests(server)) if asked else None)
    if output == "json":
        click.echo(_json(found))
    else:
        click.echo(columns(share_rows(found, asked)), nl=False)


def _table(manifests: tuple[str, ...], dialect: str) -> "RouteTable":
    from flowd.gateway.table import RouteTable
    from flowd.kubernetes.manifests import load_manifests
    from flowd.model.losses import Losses

    return RouteTable.build(load_manifests([Path(path) for path in manifests], Losses()), dialect)


def _described(manifests: tuple[str, ...], dialect: str) -> "Description":
    from flowd.gateway.describe import describe

    return describe(_table(manifests, dialect))


async def _routes(server: str | None) -> "Description":
    """What an agent knows of routes."""
    from flowd.client import Client, server_address
    from flowd.commands.routes_wire import described

    async with Client(server_address(server)) as client:
        return described(await client.routes())


async def _requests(server: str | None) -> "dict[SplitKey, int]":
    """Requests by backend that an agent saw in the minutes it remembers."""
    from flowd.client import Client, server_address

    counts: dict[SplitKey, int] = {}
    async with Client(server_address(server)) as client:
        async for snapshot in client.watch():
            for row in snapshot.routes:
                base = row.kind, row.namespace, row.name, row.rule
                key = (*base, row.backend_namespace, row.backend, row.backend_port)
                counts[key] = counts.get(key, 0) + row.requests
            if not snapshot.history:
                break
    return counts


def _json(value: object) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
