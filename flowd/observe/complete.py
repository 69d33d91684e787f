"""Shell completion of flag values: fixed values, and names asked from the server."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from flowd.observe.options.flags import FLAGS
from flowd.observe.options.times import TIME_FORMATS

if TYPE_CHECKING:
    from flowd.client.client import Client

TIMEOUT_SECONDS = 0.3
"""Longest time that completion may block the shell's prompt."""
_SAMPLE_FLOWS = 200

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_CHOICES = {flag.name: flag.choices for flag in FLAGS} | {"time-format": tuple(TIME_FORMATS)}


def completion(name: str) -> Completer:
    """Completer of a filter, route or output flag, by its name without dashes."""
    if name == "namespace":
        return lambda ctx, param, text: _matching(_ask(ctx, _namespaces), text)
    if name == "pod":
        return lambda ctx, param, text: _matching(_ask(ctx, _pods), text)
    if name in _ROUTE_QUERIES:
        return lambda ctx, param, text: _matching(_ask(ctx, _ROUTE_QUERIES[name]), text)
    return fixed(_CHOICES.get(name, ()))


def fixed(values: Iterable[str]) -> Completer:
    """Completer of fixed values."""
    return lambda ctx, param, text: _matching(values, text)


def _matching(values: Iterable[str], text: str) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values if value.lower().startswith(text.lower())]


def _ask(ctx: click.Context, query: Callable[[Any], Any]) -> list[str]:
    """Names from the servers; none if they do not answer in time or the call fails."""
    with suppress(Exception):
        return asyncio.run(asyncio.wait_for(_query_all(_clients(ctx), query), TIMEOUT_SECONDS))
    return []


def _clients(ctx: click.Context) -> "list[Client]":
    from flowd.client.client import Client
    from flowd.client.connection import server_address

    params: dict[str, Any] = {**ctx.params, "timeout": TIMEOUT_SECONDS, "debug": False}
    if "tls" not in params:
        return [Client(server_address(params.get("server")), timeout=TIMEOUT_SECONDS)]
    from flowd.observe.sources.connect import make_clients

    return [] if params["port_forward"] else make_clients(params)


async def _query_all(clients: "list[Client]", query: Callable[["Client"], Any]) -> list[str]:
    async def one(client: "Client") -> set[str]:
        async with client:
            return await query(client)

    return sorted(set[str]().union(*await asyncio.gather(*map(one, clients))))


async def _namespaces(client: Any) -> set[str]:
    response = await client.namespaces()
    return {one.namespace for one in response.namespaces}


async def _pods(client: Any) -> set[str]:
    from flowd.wire.observer.observer_pb2 import GetFlowsRequest

    pods: set[str] = set()
    async for response in client.get_flows(GetFlowsRequest(number=_SAMPLE_FLOWS)):
        for side in (response.flow.source, response.flow.destination):
            if side.pod_name:
                pods.add(f"{side.namespace}/{side.pod_name}")
    return pods


async def _routes(client: Any) -> set[str]:
    return {f"{one.namespace}/{one.name}" for one in (await client.routes()).routes}


async def _gateways(client: Any) -> set[str]:
    return {f"{one.namespace}/{one.name}" for one in (await client.routes()).gateways}


async def _listeners(client: Any) -> set[str]:
    gateways = (await client.routes()).gateways
    return {listener.name for gateway in gateways for listener in gateway.listeners}


async def _backends(client: Any) -> set[str]:
    return {
        f"{backend.namespace}/{backend.name}"
        for route in (await client.routes()).routes
        for rule in route.rules
        for backend in rule.backends
    }


_ROUTE_QUERIES: dict[str, Callable[[Any], Any]] = {
    "route": _routes,
    "gateway": _gateways,
    "listener": _listeners,
    "backend": _backends,
}
