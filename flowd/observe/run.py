"""What `flowd observe` does with its flags."""

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import click

from flowd.errors import FlowdError, UsageError
from flowd.observe.filters import Given
from flowd.observe.options import environment
from flowd.observe.request import (
    POLICIES,
    PRINTED,
    Selection,
    apply_filters,
    apply_routes,
    field_mask,
    raw_filters_yaml,
)
from flowd.observe.style import Paint, Style
from flowd.wire.observer.observer_pb2 import GetFlowsRequest

ROUTE_FLAGS = ("gateway", "listener", "route", "backend", "attribution")

_SAME = {"tab": "table", "jsonpb": "json"}


def run(params: dict[str, Any], given: Iterable[Given]) -> None:
    """Ask for flows and print them, or print the filters only.

    Args:
        params: the values of the command's options by name.
        given: its filter flags in their order.

    Raises:
        UsageError: for values and combinations that cannot be used.
        ConnectError, TimedOut, FlowdError: for what the server says or does not say.
    """
    request = _request(params, given)
    form: str = params["output"]
    form = _SAME.get(form, form)
    if form == "table" and params["follow"]:
        raise UsageError("-o table cannot be used with --follow", "use -o wide or -o compact")
    if params["field_mask"] and form != "json":
        raise UsageError("--field-mask can only be used with -o json")
    if params["print_raw_filters"]:
        click.echo(raw_filters_yaml(request), nl=False)
        return
    _mask(request, form, params)
    _print(request, form, params)


def _request(params: dict[str, Any], given: Iterable[Given]) -> GetFlowsRequest:
    request = GetFlowsRequest()
    names = ("first", "last", "follow", "since", "until")
    selection = Selection(all=params["all_"], **{name: params[name] for name in names})
    selection.apply(request, time.time_ns())
    allow, deny = (params[name] or _from_environment(name) for name in ("allowlist", "denylist"))
    apply_filters(request, given, allow, deny)
    apply_routes(request, {name: params[name] for name in ROUTE_FLAGS})
    return request


def _from_environment(name: str) -> list[str]:
    values = map(os.environ.get, environment(name.upper()))
    return [value for value in values if value][:1]


def _mask(request: GetFlowsRequest, form: str, params: dict[str, Any]) -> None:
    if params["field_mask"]:
        request.field_mask.CopyFrom(field_mask(params["field_mask"]))
    elif params["use_default_field_masks"] and form in ("compact", "dict", "table"):
        request.field_mask.paths.extend(PRINTED)
        if params["print_policy_names"]:
            request.field_mask.paths.extend(POLICIES)


def _print(request: GetFlowsRequest, form: str, params: dict[str, Any]) -> None:
    from flowd.observe.connect import make_client
    from flowd.observe.printers import printer
    from flowd.observe.stream import Counts, print_all, quiet_pipe

    counts = Counts()
    output = printer(form, _style(params))
    client = make_client(params)
    follow, silent = params["follow"], params["silent"]

    async def stream() -> None:
        async with client:
            await print_all(client.get_flows(request), output, counts, silent=silent)

    with quiet_pipe():
        try:
            asyncio.run(stream())
        except KeyboardInterrupt:
            if not follow:
                raise
        except FlowdError:
            if follow and counts.flows and not silent:
                click.echo(str(counts), err=True)
            raise
        if follow and not silent:
            click.echo(str(counts), err=True)
        elif not counts.flows and not silent and sys.stderr.isatty():
            click.echo(
                "hint: no flow matches; -f waits for new ones, --all looks further", err=True
            )


def _style(params: dict[str, Any]) -> Style:
    color = params["color"] == "always" or (
        params["color"] == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    )
    return Style(
        names=params["ip_translation"] and not params["numeric"],
        node_name=params["print_node_name"],
        policy_names=params["print_policy_names"],
        time_format=params["time_format"],
        debug=params["debug"],
        paint=Paint(color),
    )
