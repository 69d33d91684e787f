"""Read hubble's configuration file into click's default map: flags and environment override it."""

from pathlib import Path
from typing import cast

import click
import yaml

from flowd.errors import UsageError
from flowd.observe.options.click_options import filter_options
from flowd.observe.options.observe_flags import EVENT_KIND, observe_options

_MAX_BYTES = 1 << 20


def apply_config_file(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Use the file that `--config` names: YAML of flag names without dashes, and their values.

    The file is shared with `flowd observe`: flags that only observe has are accepted and ignored.

    Raises:
        UsageError: the file cannot be read, is not a YAML mapping, or names an unknown flag.
    """
    if value and not ctx.resilient_parsing:
        params = {_setting_name(param): param for param in ctx.command.params}
        settings = {key.replace("-", "_"): setting for key, setting in _read(value).items()}
        unknown = sorted(settings.keys() - params.keys() - _observe_names())
        if unknown:
            name = unknown[0].replace("_", "-")
            raise UsageError(f"{value}: there is no setting {name!r}", "see flowd observe --help")
        defaults = dict(ctx.default_map or {})
        for name in settings.keys() & params.keys():
            setting, param = settings[name], params[name]
            if isinstance(setting, str) and getattr(param, "multiple", False):
                setting = [part for part in setting.split(",") if part]
            if setting not in ("", None):
                defaults[param.name or ""] = setting
        ctx.default_map = defaults
    return value


def _read(path: str) -> dict[str, object]:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {path} ({(error.strerror or '').lower()})") from None
    try:
        document: object = yaml.safe_load(text) or {}
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: must be names of flags and their values")
    return {str(key): setting for key, setting in cast("dict[object, object]", document).items()}


def _setting_name(param: click.Parameter) -> str:
    """The long flag as the file writes it, with underscores."""
    longest = max(param.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _observe_names() -> set[str]:
    """Setting names of every parameter of `flowd observe` but the server flags."""
    options = [*observe_options(lambda _: None), *filter_options(lambda _: None)]
    return {EVENT_KIND, *map(_setting_name, options)}
