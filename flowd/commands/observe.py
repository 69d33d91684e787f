"""`flowd observe`: print flows, with hubble's flags and formats."""

from typing import Any

import click

from flowd.observe.complete import completion
from flowd.observe.options.click_options import FILTER_ARGUMENTS, FilterCommand, filter_options
from flowd.observe.options.observe_flags import EVENT_KIND, observe_options
from flowd.observe.options.server_flags import servers_options

_EVENT_KIND = click.Argument(
    [EVENT_KIND],
    type=click.Choice(["flows", "agent-events", "debug-events"]),
    required=False,
    metavar="[flows|agent-events|debug-events]",
)


@click.command("observe", cls=FilterCommand, params=[_EVENT_KIND, *observe_options(completion)])
@servers_options
@click.pass_context
def command(ctx: click.Context, **params: Any) -> None:
    """Print flows: connections, HTTP requests and drops; or what happened to the agent.

    \b
    Examples:
      flowd observe --last 50 -n shop
      flowd observe -f --route shop/web --http-status 5+
      flowd observe --since 5m --verdict DROPPED -o wide
      flowd observe --to-pod shop/cart --protocol http -o json | jq .flow.l7
      flowd observe -f --not --namespace kube-system
      flowd observe -f --server node-a:4244 --server node-b:4244
      flowd observe --input-file events.log.gz --verdict DROPPED

    A flag given twice means either value; different flags must all match.
    """
    from flowd.observe.run import run

    run(params, ctx.meta[FILTER_ARGUMENTS])


command.params.extend(filter_options(completion))
