"""Click options of the agent, generated from the settings table."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from flowd.config import SettingInfo, setting_table


def agent_options(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with `--config` and a flag for each setting.

    The function gets `config`, and as `flags` the values of the flags on the command line.
    """
    table = setting_table()

    @wraps(function)
    def with_flags(**params: Any) -> None:
        flags: dict[str, object] = {}
        for info in table:
            value = params.pop(info.name)
            if value not in (None, ()):
                flags[info.name] = value
        function(flags=flags, **params)

    decorated: Callable[..., None] = with_flags
    for info in reversed(table):
        decorated = _option(info)(decorated)
    return click.option(
        "--config",
        metavar="FILE",
        help="YAML file of settings (FLOWD_CONFIG; /etc/flowd/config.yaml if it is there).",
    )(decorated)


def _option(info: SettingInfo) -> Callable[[Callable[..., None]], Callable[..., None]]:
    default = f"; default: {info.default_text}" if info.default_text else ""
    text = info.description + (" Repeatable." if info.repeatable else "")
    text += f" [{info.variable}{default}]"
    if isinstance(info.default, bool):
        flag = f"{info.flag}/--no-{info.flag[2:]}"
        return click.option(flag, info.name, default=None, help=text)

    def complete(_ctx: click.Context, _param: click.Parameter, word: str) -> list[str]:
        return [choice for choice in info.choices if choice.startswith(word)]

    return click.option(
        info.flag,
        info.name,
        multiple=info.repeatable,
        metavar="|".join(info.choices) or _metavar(info),
        shell_complete=complete,
        help=text,
    )


def _metavar(info: SettingInfo) -> str:
    if isinstance(info.default, (int, float)):
        return "NUMBER"
    words = {
        "listen": "ADDR",
        "endpoint": "URL",
        "stats": "URL",
        "name": "NAME",
        "context": "NAME",
        "interface": "GLOB",
    }
    words |= {"allowlist": "JSON", "denylist": "JSON", "mask": "FIELD", "allow": "NAME"}
    words |= {"deny": "NAME", "aggregate": "FIELD", "cidr": "CIDR", "protocol": "PROTOCOL"}
    words |= {"port": "PORT", "ports": "PORT"}
    return words.get(info.name.rpartition("_")[2], "PATH")
