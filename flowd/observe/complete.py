"""Shell completion of values: fixed ones, and names that the server knows."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from flowd.observe.options.flags import FLAGS

if TYPE_CHECKING:
    from flowd.client.client import Client

PATIENCE = 0.3
"""Seconds that a person waits at the Tab key at most."""
_LOOK_AT = 200

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

_CHOICES = {flag.name: flag.choices for flag in FLAGS}


def completion(name: str) -> Complete:
    """Completion of a filter flag, or of a flag by route, of this name."""
    if name == "namespace":
        return lambda ctx, param, text: _matching(_ask(ctx, _namespaces), text)
    if name == "pod":
        return lambda ctx, param, text: _matching(_ask(ctx, _pods), text)
    if name in _ROUTED:
        return lambda ctx, param, text: _matching(_ask(ctx, _ROUTED[name]), text)
    return fixed(_CHOICES.get(name, ()))


def fixed(values: Iterable[str]) -> Complete:
    """Completion of these values."""
    return lambda ctx, param, text: _matching(values, text)


def _matching(values: Iterable[str], text: str) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values if value.lower().startswith(text.lower())]


def _ask(ctx: click.Context, question: Callable[[Any], Any]) -> list[str]:
    """Names from the servers, or none when it takes too long or they cannot be asked."""
    with suppress(Exception):
        return asyncio.run(asyncio.wait_for(_answers(_clients(ctx), question), PATIENCE))
    return []


def _clients(ctx: click.Context) -> "list[Client]":
    from flowd.client.client import Client, server_address

    params: dict[str, Any] = {**ctx.params, "timeout": PATIENCE, "debug": False}
    if "tls" not in params:
        return [Client(server_address(params.get("server")), timeout=PATIENCE)]
    from flowd.observe.sources.connect import make_clients

    return [] if params["port_forward"] else make_clients(params)


async def _answers(clients: "list[Client]", question: Callable[["Client"], Any]) -> list[str]:
    async def one(client: "Client") -> set[str]:
        async with client:
            return await question(client)

    return sorted(set[str]().union(*await asyncio.gather(*map(one, clients))))


async def _namespaces(client: Any) -> set[str]:
    answer = await client.namespaces()
    return {found.namespace for found in answer.namespaces}


async def _pods(client: Any) -> set[str]:
    from flowd.wire.observer.observer_pb2 import GetFlowsRequest

    pods: set[str] = set()
    async for response in client.get_flows(GetFlowsRequest(number=_LOOK_AT)):
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


_ROUTED: dict[str, Callable[[Any], Any]] = {
    "route": _routes,
    "gateway": _gateways,
    "listener": _listeners,
    "backend": _backends,
}
