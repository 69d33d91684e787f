"""Run `flowd observe agent-events` and `flowd observe debug-events`."""

import asyncio
import time
from typing import Any

import click

from flowd.errors import UsageError
from flowd.observe.options.request import Selection
from flowd.observe.output.events import EventPrinter
from flowd.observe.output.style import Style
from flowd.observe.sources.connect import make_clients, warn_if_newer
from flowd.observe.sources.stream import quiet_pipe
from flowd.wire.observer.observer_pb2 import (
    GetAgentEventsRequest,
    GetDebugEventsRequest,
    GetFlowsRequest,
)


def run_events(
    kind: str, selection: Selection, form: str, params: dict[str, Any], style: Style
) -> None:
    """Print agent or debug events of one server.

    Raises:
        UsageError: a value cannot be used.
        FlowdError: the call fails, such as Unimplemented.
    """
    flows = GetFlowsRequest()
    selection.apply(flows, time.time_ns())
    clients = make_clients(params)
    if len(clients) > 1:
        raise UsageError(f"{kind} come from one server", "give one --server")
    printer = EventPrinter("compact" if form == "wide" else form, style)

    async def stream() -> None:
        async with clients[0] as client:
            if not params["silent"]:
                warn_if_newer(client)
            if kind == "agent-events":
                events = client.get_agent_events(_request(flows, GetAgentEventsRequest()))
            else:
                events = client.get_debug_events(_request(flows, GetDebugEventsRequest()))
            async for event in events:
                click.echo(printer.text(event), nl=False)
        click.echo(printer.end(), nl=False)

    with quiet_pipe():
        try:
            asyncio.run(stream())
        except KeyboardInterrupt:
            if not selection.follow:
                raise


def _request(flows: GetFlowsRequest, request: Any) -> Any:
    request.number, request.follow = flows.number, flows.follow
    for name in ("since", "until"):
        if flows.HasField(name):
            getattr(request, name).CopyFrom(getattr(flows, name))
    return request
