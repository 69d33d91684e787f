"""Click parts of the commands that ask a server: grouped help, filter flags, server flags."""

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.types import OptionHelpExtra

from flowd.observe.options.config_file import use_file
from flowd.observe.options.filters import BY_NAME, Given
from flowd.observe.options.flags import FLAGS, FilterFlag
from flowd.observe.options.times import parse_duration

F = TypeVar("F", bound=Callable[..., Any])
GIVEN = "flowd.observe.given"

GROUPS = (SELECT, WHO, WHAT, ROUTE, RAW, OUTPUT, SERVER, OTHER) = (
    "Which flows",
    "Who",
    "What happened",
    "Which route",
    "Any other filter",
    "Output",
    "Server",
    "Other",
)
"""Headings of the help, in its order."""


class GroupedOption(click.Option):
    """An option that help lists under a heading.

    Args:
        group: the heading.
        shown: how help writes the option, "" to leave it out, None for click's way.
    """

    def __init__(
        self, *args: Any, group: str = OTHER, shown: str | None = None, **attrs: Any
    ) -> None:
        super().__init__(*args, **attrs)
        self.group = group
        self.shown = shown

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if not record or self.shown is None:
            return record
        return (self.shown, record[1]) if self.shown else None


class GroupedCommand(click.Command):
    """A command whose help lists its options by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record and isinstance(param, click.Option):
                group = param.group if isinstance(param, GroupedOption) else OTHER
                groups[group].append(record)
        for group, records in groups.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


class FilterCommand(GroupedCommand):
    """A command with filter flags; `ctx.meta[GIVEN]` is the list of Given, in their order."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = [arg for arg in map(self._switch, args) if arg is not None]
        if not ctx.resilient_parsing:
            options, _, order = self.make_parser(ctx).parse_args(list(args))
            ctx.meta[GIVEN] = _in_order(ctx, options, order)
        return super().parse_args(ctx, args)

    def _switch(self, arg: str) -> str | None:
        """`--flag=true` and `--flag=false`, as Go programs take them, in click's form."""
        name, equals, value = arg.partition("=")
        if not equals or value not in ("true", "false"):
            return arg
        for param in self.params:
            if isinstance(param, click.Option) and param.is_flag and name in param.opts:
                if value == "true":
                    return name
                return param.secondary_opts[0] if param.secondary_opts else None
        return arg


def _in_order(
    ctx: click.Context, options: dict[str, Any], order: list[click.Parameter]
) -> list[Given]:
    taken: dict[str, int] = {}
    given: list[Given] = []
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
            at = taken.get(name, 0)
            taken[name] = at + 1
            value = flag.constant or options[param.name or ""][at]
            given.append(Given(name, value, negated))
            negated = False
        elif negated:
            raise click.UsageError(f"--not cannot negate {param.opts[-1]}", ctx)
    if negated:
        raise click.UsageError("--not must be followed by a filter flag", ctx)
    return given


def option(group: str, *names: str, **attrs: Any) -> Callable[[F], F]:
    """`click.option` under a heading of the help."""
    return click.option(*names, cls=GroupedOption, group=group, **attrs)


def filter_options(complete: Callable[[str], Any]) -> list[click.Parameter]:
    """Every filter flag as an option; `complete` gives the completion of a flag by its name."""
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
    shown = None
    if flag.sided:
        dashes = f"-{flag.short}, " if flag.short else ""
        metavar = "" if flag.constant else f" {flag.metavar}"
        shown = "" if prefix else f"{dashes}--[from-|to-]{flag.name}{metavar}"
    return GroupedOption(
        [*short, f"--{prefix}{flag.name}"],
        group=WHO if flag.who else WHAT,
        shown=shown,
        help=flag.help,
        expose_value=False,
        **value,
    )


class Duration(click.ParamType[float]):
    """A Go duration such as `5s` or `1m30s`, or a number of seconds; gives seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(value)
        except ValueError:
            pass
        try:
            return parse_duration(value) / 1e9
        except ValueError as error:
            return self.fail(str(error), param, ctx)


def environment(name: str) -> list[str]:
    """The variables of a setting: flowd's, then hubble's."""
    return [f"FLOWD_{name}", f"HUBBLE_{name}"]


_SERVER = (
    ("--server", {"metavar": "ADDRESS", "envvar": environment("SERVER"), "help": "`host:port`, `tls://host:port` or "
     "`unix:///path`; else FLOWD_SERVER, HUBBLE_SERVER, 127.0.0.1:4245."}),
    ("--timeout", {"type": Duration(), "default": "5s", "show_default": True,
     "envvar": environment("TIMEOUT"), "help": "How long to wait for the server."}),
    ("--request-timeout", {"type": Duration(), "default": "12s", "show_default": True,
     "envvar": environment("REQUEST_TIMEOUT"), "help": "How long a single answer may take."}),
    ("--tls", {"is_flag": True, "envvar": environment("TLS"), "help": "Speak TLS."}),
    ("--tls-allow-insecure", {"is_flag": True, "envvar": environment("TLS_ALLOW_INSECURE"),
     "help": "Trust whatever certificate the server shows. Not recommended."}),
    ("--tls-ca-cert-files", {"multiple": True, "metavar": "FILE",
     "envvar": environment("TLS_CA_CERT_FILES"), "help": "Authorities to trust (PEM)."}),
    ("--tls-client-cert-file", {"default": "", "metavar": "FILE",
     "envvar": environment("TLS_CLIENT_CERT_FILE"), "help": "Our own certificate (PEM)."}),
    ("--tls-client-key-file", {"default": "", "metavar": "FILE",
     "envvar": environment("TLS_CLIENT_KEY_FILE"), "help": "Its key (PEM)."}),
    ("--tls-server-name", {"default": "", "metavar": "NAME",
     "envvar": environment("TLS_SERVER_NAME"), "help": "Name in the server's certificate."}),
    ("--basic-auth-username", {"default": "", "metavar": "NAME",
     "envvar": environment("BASIC_AUTH_USERNAME"), "help": "Name for basic authentication."}),
    ("--basic-auth-password", {"default": "", "metavar": "TEXT",
     "envvar": environment("BASIC_AUTH_PASSWORD"), "help": "Password for basic authentication."}),
    ("--port-forward -P", {"is_flag": True, "envvar": environment("PORT_FORWARD"),
     "help": "Ask the relay of a cluster: kubectl forwards a local port to the Service "
     "`hubble-relay` while the command runs; --server is not used."}),
    ("--port-forward-port", {"type": click.IntRange(0, 65535), "default": 4245,
     "show_default": True, "metavar": "PORT", "envvar": environment("PORT_FORWARD_PORT"),
     "help": "With -P, the local port; 0 for any that is free."}),
    ("--kube-context", {"default": "", "metavar": "NAME", "envvar": environment("KUBE_CONTEXT"),
     "help": "With -P, kubectl's context."}),
    ("--kube-namespace", {"default": "kube-system", "show_default": True, "metavar": "NAME",
     "envvar": environment("KUBE_NAMESPACE"), "help": "With -P, the relay's namespace."}),
    ("--kubeconfig", {"default": "", "metavar": "FILE", "envvar": environment("KUBECONFIG"),
     "help": "With -P, kubectl's configuration."}),
    ("--config", {"default": "", "metavar": "FILE", "is_eager": True, "callback": use_file,
     "expose_value": False, "envvar": "HUBBLE_CONFIG",
     "help": "YAML of flag names and values, in hubble's form; flags and variables go before."}),
    ("--debug -D", {"is_flag": True, "envvar": environment("DEBUG"),
     "help": "Tell whom is asked, and every change of the nodes behind a relay."}),
)  # fmt: skip


def server_options(function: F) -> F:
    """The flags that `make_client` reads."""
    for name, attrs in reversed(_SERVER):
        function = option(SERVER, *name.split(), **attrs)(function)
    return function


def servers_options(function: F) -> F:
    """The flags that `make_clients` reads: as `server_options`, with any number of servers."""
    for name, attrs in reversed(_SERVER):
        more = {"multiple": True} if name == "--server" else {}
        function = option(SERVER, *name.split(), **attrs, **more)(function)
    return function
