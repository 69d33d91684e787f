"""Click classes of the client commands: help by heading, ordered filter flags, command aliases."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.types import OptionHelpExtra

from flowd.observe.options.filters import BY_NAME, FilterArgument
from flowd.observe.options.flags import FLAGS, FilterFlag

F = TypeVar("F", bound=Callable[..., Any])
FILTER_ARGUMENTS = "flowd.observe.filter_arguments"
"""Key of `ctx.meta` under which FilterCommand leaves the filter flags of the command line."""

HEADINGS = (SELECT, ENDPOINTS, EVENTS, ROUTE, RAW, OUTPUT, SERVER, OTHER) = (
    "Which flows",
    "Who",
    "What happened",
    "Which route",
    "Any other filter",
    "Output",
    "Server",
    "Other",
)
"""Headings of the help, in the order of the help."""


class GroupedOption(click.Option):
    """An option that the help lists under a heading.

    Args:
        heading: one of HEADINGS.
        help_name: names of the option in the help; "" hides it, None leaves it to click.
    """

    def __init__(
        self, *args: Any, heading: str = OTHER, help_name: str | None = None, **attrs: Any
    ) -> None:
        super().__init__(*args, **attrs)
        self.heading = heading
        self.help_name = help_name

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if not record or self.help_name is None:
            return record
        return (self.help_name, record[1]) if self.help_name else None


class GroupedCommand(click.Command):
    """A command whose help lists its options under HEADINGS."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in HEADINGS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                heading = param.heading if isinstance(param, GroupedOption) else OTHER
                sections[heading].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class AliasedGroup(click.Group):
    """A group whose commands have second names, such as `node` for `nodes`.

    Args:
        aliases: second name to name.
    """

    def __init__(self, *args: Any, aliases: Mapping[str, str], **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self._aliases = aliases

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, self._aliases.get(cmd_name, cmd_name))


class FilterCommand(GroupedCommand):
    """A command with filter flags.

    `ctx.meta[FILTER_ARGUMENTS]` is the list of FilterArguments in the order of the command line:
    click's own values lose the order among flags, which `--not` depends on.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = [arg for arg in map(self._click_form, args) if arg is not None]
        if not ctx.resilient_parsing:
            options, _, order = self.make_parser(ctx).parse_args(list(args))
            ctx.meta[FILTER_ARGUMENTS] = _filter_arguments(ctx, options, order)
        return super().parse_args(ctx, args)

    def _click_form(self, arg: str) -> str | None:
        """`--flag=true` and `--flag=false` (Go's pflag) in click's form; None for an unset flag."""
        name, equals, value = arg.partition("=")
        if not equals or value not in ("true", "false"):
            return arg
        for param in self.params:
            if isinstance(param, click.Option) and param.is_flag and name in param.opts:
                if value == "true":
                    return name
                return param.secondary_opts[0] if param.secondary_opts else None
        return arg


def _filter_arguments(
    ctx: click.Context, options: dict[str, Any], order: list[click.Parameter]
) -> list[FilterArgument]:
    """The filter flags of a parsed command line in their order, each with its own value.

    Args:
        options, order: what click's parser returns: values by parameter name, and the parameters
            in the order of the command line, once for each occurrence.

    Raises:
        click.UsageError: `--not` does not stand before a filter flag.
    """
    used: dict[str, int] = {}
    arguments: list[FilterArgument] = []
    negated = False
    for param in order:
        if isinstance(param, click.Argument):
            continue
        name = (param.name or "").replace("_", "-")
        if name == "negate":
            if negated:
                raise click.UsageError("--not must be followed by a filter flag", ctx)
            negated = True
        elif name in BY_NAME:
            flag, _ = BY_NAME[name]
            index = used.get(name, 0)
            used[name] = index + 1
            value = flag.constant or options[param.name or ""][index]
            arguments.append(FilterArgument(name, value, negated))
            negated = False
        elif negated:
            raise click.UsageError(f"--not cannot negate {param.opts[-1]}", ctx)
    if negated:
        raise click.UsageError("--not must be followed by a filter flag", ctx)
    return arguments


def option(heading: str, *names: str, **attrs: Any) -> Callable[[F], F]:
    """`click.option` under a heading of the help."""
    return click.option(*names, cls=GroupedOption, heading=heading, **attrs)


def env_vars(name: str) -> list[str]:
    """Environment variables of a flag in order of precedence: FLOWD_<name>, HUBBLE_<name>."""
    return [f"FLOWD_{name}", f"HUBBLE_{name}"]


def filter_options(complete: Callable[[str], Any]) -> list[click.Parameter]:
    """Click options of FLAGS, three for each sided flag.

    Args:
        complete: returns click's `shell_complete` function for a flag, by the flag's name.
    """
    options: list[click.Parameter] = []
    for flag in FLAGS:
        options.append(_filter_option("", flag, complete))
        if flag.sided:
            options += [_filter_option(side, flag, complete) for side in ("from-", "to-")]
    return options


def _filter_option(prefix: str, flag: FilterFlag, complete: Callable[[str], Any]) -> GroupedOption:
    short = [f"-{flag.short}"] if flag.short and not prefix else []
    value: dict[str, Any] = {"is_flag": True} if flag.constant else {"multiple": True}
    if not flag.constant:
        value |= {"metavar": flag.metavar, "shell_complete": complete(flag.name)}
    help_name = None
    if flag.sided:
        dashes = f"-{flag.short}, " if flag.short else ""
        metavar = "" if flag.constant else f" {flag.metavar}"
        help_name = "" if prefix else f"{dashes}--[from-|to-]{flag.name}{metavar}"
    return GroupedOption(
        [*short, f"--{prefix}{flag.name}"],
        heading=ENDPOINTS if flag.of_endpoint else EVENTS,
        help_name=help_name,
        help=flag.help,
        expose_value=False,
        **value,
    )
