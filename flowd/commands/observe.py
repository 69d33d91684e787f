"""`flowd observe`: print flows, with hubble's flags and formats."""

from typing import Any

import click

from flowd.model.enums import Attribution
from flowd.observe.complete import completion, fixed
from flowd.observe.options.click_options import (
    GIVEN,
    OUTPUT,
    RAW,
    ROUTE,
    SELECT,
    SERVER,
    FilterCommand,
    environment,
    filter_options,
    option,
    servers_options,
)
from flowd.observe.options.times import TIME_FORMATS, TIME_HELP

FORMATS = ("compact", "wide", "dict", "table", "json", "jsonpb", "tab")

COUNT = click.IntRange(0, 2**64 - 1)


@click.command("observe", cls=FilterCommand)
@click.argument(
    "what",
    type=click.Choice(["flows", "agent-events", "debug-events"]),
    required=False,
    metavar="[flows|agent-events|debug-events]",
)
@option(SELECT, "-f", "--follow", is_flag=True, help="Go on with new flows until interrupted.")
@option(SELECT, "--last", type=COUNT, metavar="N", help="The newest N that match (20).")
@option(SELECT, "--first", type=COUNT, metavar="N", help="The oldest N that match.")
@option(SELECT, "--all", "all_", is_flag=True, help="All that the server holds.")
@option(SELECT, "--since", default="", metavar="TIME", help=f"From {TIME_HELP}.")
@option(SELECT, "--until", default="", metavar="TIME", help="Up to such a time.")
@option(
    ROUTE,
    "--gateway",
    multiple=True,
    shell_complete=completion("gateway"),
    metavar="NS/NAME",
    help="Requests of a Gateway.",
)
@option(
    ROUTE,
    "--listener",
    multiple=True,
    shell_complete=completion("listener"),
    metavar="NAME",
    help="Requests of a listener.",
)
@option(
    ROUTE,
    "--route",
    multiple=True,
    shell_complete=completion("route"),
    metavar="[KIND/]NS/NAME",
    help="Requests of a route.",
)
@option(
    ROUTE,
    "--backend",
    multiple=True,
    shell_complete=completion("backend"),
    metavar="NS/NAME[:PORT]",
    help="By backendRef.",
)
@option(
    ROUTE,
    "--attribution",
    multiple=True,
    type=click.Choice([each.name.lower() for each in Attribution]),
    help="By the evidence that gave the route.",
)
@option(RAW, "--not", "negate", count=True, help="Deny what the next filter flag matches.")
@option(RAW, "--allowlist", multiple=True, metavar="JSON", help="FlowFilters to allow.")
@option(RAW, "--denylist", multiple=True, metavar="JSON", help="FlowFilters to deny.")
@option(RAW, "--print-raw-filters", is_flag=True, help="Print the filters and ask nothing.")
@option(
    OUTPUT,
    "-o",
    "--output",
    default="compact",
    show_default=True,
    envvar=environment("OUTPUT"),
    type=click.Choice(FORMATS, case_sensitive=False),
    metavar="compact|wide|dict|table|json",
    help="Format.",
)
@option(
    SERVER,
    "--input-file",
    default="",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Flows of a file of JSON lines, plain or gzip, in place of a server; `-` is stdin.",
)
@option(OUTPUT, "--print-node-name", is_flag=True, help="Print the node of each flow.")
@option(OUTPUT, "--print-policy-names", is_flag=True, help="Print policies behind verdicts.")
@option(
    OUTPUT,
    "--time-format",
    default="StampMilli",
    show_default=True,
    metavar="FORMAT",
    envvar=environment("TIME_FORMAT"),
    shell_complete=fixed(TIME_FORMATS),
    help=f"One of {', '.join(TIME_FORMATS)}.",
)
@option(
    OUTPUT,
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colours; NO_COLOR turns `auto` off.",
)
@option(OUTPUT, "--numeric", is_flag=True, help="Addresses, not names.")
@option(
    OUTPUT,
    "--ip-translation/--no-ip-translation",
    default=True,
    help="Names in place of addresses (on).",
)
@option(OUTPUT, "--field-mask", multiple=True, metavar="A,B", help="Fields to ask for, with json.")
@option(
    OUTPUT,
    "--use-default-field-masks/--no-use-default-field-masks",
    default=True,
    help="Ask only for the fields that are printed (on).",
)
@option(OUTPUT, "-s", "--silent-errors", "--silent", "silent", is_flag=True, help="No remarks.")
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

    run(params, ctx.meta[GIVEN])


command.params.extend(filter_options(completion))
