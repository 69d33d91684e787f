"""Run `flowd observe`: build the request, print flows of servers or of a file."""

import asyncio
import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import click

from flowd.errors import FlowdError, UsageError
from flowd.observe.options.click_options import env_vars
from flowd.observe.options.filters import FilterArgument
from flowd.observe.options.observe_flags import EVENT_KIND
from flowd.observe.options.request import (
    DEFAULT_LAST,
    POLICY_FIELDS,
    PRINTED_FIELDS,
    Selection,
    apply_filters,
    apply_routes,
    field_mask,
    raw_filters_yaml,
)
from flowd.observe.output.style import Paint, Style
from flowd.text import printable
from flowd.wire.observer.observer_pb2 import GetFlowsRequest

ROUTE_FLAGS = ("gateway", "listener", "route", "backend", "attribution")

_SELECTORS = ("first", "last", "follow", "since", "until")
_FORM_ALIASES = {"tab": "table", "jsonpb": "json"}


def run(params: dict[str, Any], arguments: Iterable[FilterArgument]) -> None:
    """Request flows or events and print them, or print the filters only.

    Args:
        params: values of the command's options by name.
        arguments: filter flags in the order of the command line.

    Raises:
        UsageError: a value or a combination cannot be used.
        ConnectError, TimedOut: the server cannot be reached.
        FlowdError: the server refuses the request.
    """
    kind: str = params[EVENT_KIND] or "flows"
    if kind != "flows":
        _events(kind, params, arguments)
        return
    request = _request(params, arguments)
    form: str = params["output"]
    form = _FORM_ALIASES.get(form, form)
    if form == "table" and params["follow"]:
        raise UsageError("-o table cannot be used with --follow", "use -o wide or -o compact")
    if params["field_mask"] and form != "json":
        raise UsageError("--field-mask can only be used with -o json")
    if params["print_raw_filters"]:
        click.echo(raw_filters_yaml(request), nl=False)
        return
    _set_field_mask(request, form, params)
    if params["input_file"]:
        _print_file(request, form, params)
    else:
        _print_servers(request, form, params)


def _events(kind: str, params: dict[str, Any], arguments: Iterable[FilterArgument]) -> None:
    from flowd.observe.run_events import run_events

    if any(arguments) or any(params[name] for name in (*ROUTE_FLAGS, "allowlist", "denylist")):
        raise UsageError(f"{kind} cannot be filtered", "--last, --since, --until and -f apply")
    if params["input_file"]:
        raise UsageError("--input-file holds flows", f"leave {kind} out")
    selection = Selection(
        all=params["all_"], **{name: params[name] for name in _SELECTORS if name != "first"}
    )
    form: str = params["output"]
    form = _FORM_ALIASES.get(form, form)
    run_events(kind, selection, form, params, _style(params))


def _request(params: dict[str, Any], arguments: Iterable[FilterArgument]) -> GetFlowsRequest:
    request = GetFlowsRequest()
    selection = Selection(
        all=params["all_"],
        default=0 if params["input_file"] else DEFAULT_LAST,
        **{name: params[name] for name in _SELECTORS},
    )
    selection.apply(request, time.time_ns())
    allow, deny = (params[name] or _from_environment(name) for name in ("allowlist", "denylist"))
    apply_filters(request, arguments, allow, deny)
    apply_routes(request, {name: params[name] for name in ROUTE_FLAGS})
    return request


def _from_environment(name: str) -> list[str]:
    values = map(os.environ.get, env_vars(name.upper()))
    return [value for value in values if value][:1]


def _set_field_mask(request: GetFlowsRequest, form: str, params: dict[str, Any]) -> None:
    if params["field_mask"]:
        request.field_mask.CopyFrom(field_mask(params["field_mask"]))
    elif params["use_default_field_masks"] and form in ("compact", "dict", "table"):
        request.field_mask.paths.extend(PRINTED_FIELDS)
        if params["print_policy_names"]:
            request.field_mask.paths.extend(POLICY_FIELDS)


def _print_servers(request: GetFlowsRequest, form: str, params: dict[str, Any]) -> None:
    from flowd.observe.output.printers import printer
    from flowd.observe.sources.connect import ignore, make_clients, warn_if_newer
    from flowd.observe.sources.merge import Merge
    from flowd.observe.sources.stream import Counts, print_all, quiet_pipe

    counts = Counts()
    output = printer(form, _style(params))
    clients = make_clients(params)
    follow, silent = params["follow"], params["silent"]
    on_connect = ignore if silent else warn_if_newer

    async def stream() -> None:
        if len(clients) > 1:
            merge = Merge(clients, request, partial(_warn, silent=silent), on_connect)
            await print_all(merge.responses(), output, counts, silent=silent)
            return
        async with clients[0] as client:
            on_connect(client)
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


def _print_file(request: GetFlowsRequest, form: str, params: dict[str, Any]) -> None:
    from flowd.observe.output.printers import printer
    from flowd.observe.sources.input_file import flows_of_file
    from flowd.observe.sources.stream import Counts, print_one, quiet_pipe, write

    silent = params["silent"]
    output = printer(form, _style(params))
    warn = partial(_warn, silent=silent)
    counts = Counts()
    with quiet_pipe():
        for response in flows_of_file(params["input_file"], request, warn):
            print_one(response, output, counts, silent=silent)
        write(output.end())


def _warn(text: str, silent: bool) -> None:
    if not silent:
        click.echo(f"flowd: {printable(text)}", err=True)


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
