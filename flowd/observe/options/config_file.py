"""hubble's configuration file as defaults of a command: flags and the environment go before it."""

from pathlib import Path
from typing import cast

import click
import yaml

from flowd.errors import UsageError

_MOST = 1 << 20


def use_file(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Read the file that `--config` names: names of flags without dashes, and their values.

    Raises:
        UsageError: the file cannot be read, is no such file, or names a flag that is not there.
    """
    if value and not ctx.resilient_parsing:
        known = {_name(param): param for param in ctx.command.params}
        given = {key.replace("-", "_"): held for key, held in _read(value).items()}
        strange = sorted(given.keys() - known.keys() - _every_flag())
        if strange:
            name = strange[0].replace("_", "-")
            raise UsageError(f"{value}: there is no setting {name!r}", "see flowd observe --help")
        defaults = dict(ctx.default_map or {})
        for name in given.keys() & known.keys():
            held, param = given[name], known[name]
            if isinstance(held, str) and getattr(param, "multiple", False):
                held = [part for part in held.split(",") if part]
            if held not in ("", None):
                defaults[param.name or ""] = held
        ctx.default_map = defaults
    return value


def _read(path: str) -> dict[str, object]:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MOST)
    except OSError as error:
        raise UsageError(f"cannot read {path} ({(error.strerror or '').lower()})") from None
    try:
        document: object = yaml.safe_load(text) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: must be names of flags and their values")
    return {str(key): held for key, held in cast("dict[object, object]", document).items()}


def _name(param: click.Parameter) -> str:
    """The long flag as the file writes it, with underscores."""
    longest = max(param.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _every_flag() -> set[str]:
    from flowd.commands.observe import command

    return {_name(param) for param in command.params}
