"""`flowd routes`: match, explain, list and compare routes of manifests or of an agent."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from flowd.commands.routes.headers import headers
from flowd.errors import FlowdError, UsageError
from flowd.observe.options.click_options import GroupedCommand
from flowd.observe.options.server_flags import server_options
from flowd.settings import DIALECTS

if TYPE_CHECKING:
    from flowd.gateway.report.listing import SplitKey
    from flowd.gateway.table.route_table import RouteTable
    from flowd.model.describe import Description

F = TypeVar("F", bound=Callable[..., Any])

_REQUEST_FIELDS = (
    "gateway", "listener", "port", "sni", "host", "path", "method", "scheme", "client_namespace"
)  # fmt: skip


@click.group("routes")
def command() -> None:
    """Match requests against Gateway API routes, list and compare them."""


command.add_command(headers)


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
    from flowd.gateway.report.match_jsonl import answer_lines

    table = _table(manifests, dialect)
    failures = answer_lines(table, requests, sys.stdout.buffer)
    if failures:
        number, problem = failures[0]
        count = "1 line was" if len(failures) == 1 else f"{len(failures)} lines were"
        raise FlowdError(f"{requests.name}: {count} no request, first line {number}: {problem}")


@command.command("explain", cls=GroupedCommand)
@_manifests(required=False)
@_dialect
@click.option("--gateway", metavar="NS/NAME", help="Gateway that the request came to.")
@click.option("--listener", metavar="NAME", help="Listener that the request came to.")
@click.option("--port", type=int, help="Port of the listener.")
@click.option("--sni", metavar="NAME", help="Server name of a TLS connection.")
@click.option("--host", metavar="NAME", help="Host header.")
@click.option("--path", metavar="PATH", help="Path with query.")
@click.option("--method", metavar="NAME", help="Method; GET when left out.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Repeatable.")
@click.option("--scheme", type=click.Choice(["http", "https"]), help="Scheme.")
@click.option("--client-namespace", metavar="NAME", help="Namespace of a client in the mesh.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format.",
)
@server_options
def explain(
    manifests: tuple[str, ...], dialect: str, headers: tuple[str, ...], output: str, **params: Any
) -> None:
    """Tell which routes were considered for one request, and why each lost.

    From --manifests; without them by the routes and dialect of an agent.

    \b
    Examples:
      flowd routes explain --manifests ./k8s --host www.example.com --path /login
      flowd routes explain --server node-1:4244 --host www.example.com --path /login
    """
    import msgspec

    from flowd.gateway.report.explain import Explanation, explain_json
    from flowd.gateway.report.listing import explanation_rows
    from flowd.observe.output.table import fitted

    _check_one_source(manifests, params)
    pairs = dict(_header(text) for text in headers)
    fields = {name: params[name] for name in _REQUEST_FIELDS if params[name] is not None}
    request = msgspec.json.encode({**fields, "headers": pairs})
    if manifests:
        answer = explain_json(_table(manifests, dialect), request)
    else:
        answer = asyncio.run(_ask_explanation(params, request))
    if output == "json":
        click.echo(answer.decode())
        return
    try:
        found = msgspec.json.decode(answer, type=Explanation)
    except msgspec.MsgspecError as error:
        raise FlowdError(f"the agent's answer cannot be read: {error}") from None
    click.echo("\n".join(fitted(rows) for rows in explanation_rows(found)), nl=False)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {text}: no NAME:VALUE", "write it as in `version: 2`")
    return name.strip(), value.strip()


@command.command("list", cls=GroupedCommand)
@_manifests(required=False)
@_dialect
@_output
@server_options
def list_routes(manifests: tuple[str, ...], dialect: str, output: str, **params: Any) -> None:
    """List Gateways, listeners, routes, why they are attached or not, backends, what is wrong.

    From --manifests; without them from an agent.
    """
    from flowd.gateway.report.listing import gateway_rows, problem_rows, route_rows, rule_rows
    from flowd.observe.output.table import fitted

    _check_one_source(manifests, params)
    known = _described(manifests, dialect) if manifests else asyncio.run(_ask_routes(params))
    if output == "json":
        click.echo(_json(known))
        return
    parts = (gateway_rows, route_rows, rule_rows, problem_rows)
    tables = [rows for part in parts if len(rows := part(known)) > 1]
    shown = "\n".join(fitted(rows) for rows in tables)
    click.echo(shown or "no Gateway, route or Ingress\n", nl=False)


@command.command("split", cls=GroupedCommand)
@_manifests(required=False)
@_dialect
@_output
@server_options
def split(manifests: tuple[str, ...], dialect: str, output: str, **params: Any) -> None:
    """Compare how requests are shared between backends with the weights that are wanted.

    With --manifests alone only what is wanted; with an agent also what it saw in the last minutes.
    """
    from flowd.gateway.report.listing import share_rows, shares
    from flowd.observe.output.table import fitted

    ask_agent = bool(params["server"]) or not manifests
    known = _described(manifests, dialect) if manifests else asyncio.run(_ask_routes(params))
    found = shares(known, asyncio.run(_ask_requests(params)) if ask_agent else None)
    if output == "json":
        click.echo(_json(found))
    else:
        click.echo(fitted(share_rows(found, ask_agent)), nl=False)


def _table(manifests: tuple[str, ...], dialect: str) -> "RouteTable":
    from flowd.gateway.table.route_table import RouteTable
    from flowd.kubernetes.manifests import load_manifests
    from flowd.model.losses import Losses

    return RouteTable.build(load_manifests([Path(path) for path in manifests], Losses()), dialect)


def _described(manifests: tuple[str, ...], dialect: str) -> "Description":
    from flowd.gateway.report.describe import describe

    return describe(_table(manifests, dialect))


def _check_one_source(manifests: tuple[str, ...], params: dict[str, Any]) -> None:
    if manifests and params["server"]:
        raise UsageError("--manifests and --server exclude each other", "leave one of them out")


async def _ask_explanation(params: dict[str, Any], request: bytes) -> bytes:
    """Ask an agent to explain a request; both are JSON."""
    from flowd.observe.sources.connect import make_client

    async with make_client(params) as client:
        return await client.explain(request)


async def _ask_routes(params: dict[str, Any]) -> "Description":
    """Ask an agent for its gateways and routes."""
    from flowd.commands.routes.wire import routes_info
    from flowd.observe.sources.connect import make_client

    async with make_client(params) as client:
        return routes_info(await client.routes())


async def _ask_requests(params: dict[str, Any]) -> "dict[SplitKey, int]":
    """Ask an agent for requests by backend, summed over the history it keeps (some minutes)."""
    from flowd.observe.sources.connect import make_client

    counts: dict[SplitKey, int] = {}
    async with make_client(params) as client:
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
