"""Selection, route, raw-filter and output flags of `flowd observe`, as data for click options."""

from collections.abc import Callable
from typing import Any

import click

from flowd.model.enums import Attribution
from flowd.observe.options.click_options import (
    OUTPUT,
    RAW,
    ROUTE,
    SELECT,
    SERVER,
    GroupedOption,
    env_vars,
)
from flowd.observe.options.times import TIME_FORMATS, TIME_HELP

EVENT_KIND = "what"
"""Name of the positional parameter: flows, agent-events or debug-events."""

FORMATS = ("compact", "wide", "dict", "table", "json", "jsonpb", "tab")

_COUNT = click.IntRange(0, 2**64 - 1)
_COMPLETED = ("--gateway", "--listener", "--route", "--backend", "--time-format")

_OBSERVE: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (SELECT, "-f --follow", {"is_flag": True, "help": "Go on with new flows until interrupted."}),
    (SELECT, "--last", {"type": _COUNT, "metavar": "N", "help": "The newest N that match (20)."}),
    (SELECT, "--first", {"type": _COUNT, "metavar": "N", "help": "The oldest N that match."}),
    (SELECT, "--all all_", {"is_flag": True, "help": "All that the server holds."}),
    (SELECT, "--since", {"default": "", "metavar": "TIME", "help": f"From {TIME_HELP}."}),
    (SELECT, "--until", {"default": "", "metavar": "TIME", "help": "Up to such a time."}),
    (ROUTE, "--gateway", {"multiple": True, "metavar": "NS/NAME",
     "help": "Requests of a Gateway."}),
    (ROUTE, "--listener", {"multiple": True, "metavar": "NAME", "help": "Requests of a listener."}),
    (ROUTE, "--route", {"multiple": True, "metavar": "[KIND/]NS/NAME",
     "help": "Requests of a route."}),
    (ROUTE, "--backend", {"multiple": True, "metavar": "NS/NAME[:PORT]",
     "help": "By backendRef."}),
    (ROUTE, "--attribution", {"multiple": True,
     "type": click.Choice([each.name.lower() for each in Attribution]),
     "help": "By the evidence that gave the route."}),
    (RAW, "--not negate", {"count": True, "help": "Deny what the next filter flag matches."}),
    (RAW, "--allowlist", {"multiple": True, "metavar": "JSON", "help": "FlowFilters to allow."}),
    (RAW, "--denylist", {"multiple": True, "metavar": "JSON", "help": "FlowFilters to deny."}),
    (RAW, "--print-raw-filters", {"is_flag": True, "help": "Print the filters and ask nothing."}),
    (OUTPUT, "-o --output", {"default": "compact", "show_default": True,
     "envvar": env_vars("OUTPUT"), "type": click.Choice(FORMATS, case_sensitive=False),
     "metavar": "compact|wide|dict|table|json", "help": "Format."}),
    (SERVER, "--input-file", {"default": "", "metavar": "FILE",
     "type": click.Path(allow_dash=True), "help":
     "Flows of a file of JSON lines, plain or gzip, in place of a server; `-` is stdin."}),
    (OUTPUT, "--print-node-name", {"is_flag": True, "help": "Print the node of each flow."}),
    (OUTPUT, "--print-policy-names", {"is_flag": True, "help": "Print policies behind verdicts."}),
    (OUTPUT, "--time-format", {"default": "StampMilli", "show_default": True, "metavar": "FORMAT",
     "envvar": env_vars("TIME_FORMAT"), "help": f"One of {', '.join(TIME_FORMATS)}."}),
    (OUTPUT, "--color", {"type": click.Choice(["auto", "always", "never"]), "default": "auto",
     "show_default": True, "help": "Colours; NO_COLOR turns `auto` off."}),
    (OUTPUT, "--numeric", {"is_flag": True, "help": "Addresses, not names."}),
    (OUTPUT, "--ip-translation/--no-ip-translation", {"default": True,
     "help": "Names in place of addresses (on)."}),
    (OUTPUT, "--field-mask", {"multiple": True, "metavar": "A,B",
     "help": "Fields to ask for, with json."}),
    (OUTPUT, "--use-default-field-masks/--no-use-default-field-masks", {"default": True,
     "help": "Ask only for the fields that are printed (on)."}),
    (OUTPUT, "-s --silent-errors --silent silent", {"is_flag": True, "help": "No remarks."}),
)  # fmt: skip


def observe_options(complete: Callable[[str], Any]) -> list[click.Parameter]:
    """The options of this module, in the order of the help.

    Args:
        complete: returns click's `shell_complete` function for a flag, by the flag's name.
    """
    options: list[click.Parameter] = []
    for heading, text, attrs in _OBSERVE:
        names = text.split()
        if names[0] in _COMPLETED:
            attrs = attrs | {"shell_complete": complete(names[0].removeprefix("--"))}
        options.append(GroupedOption(names, heading=heading, **attrs))
    return options
