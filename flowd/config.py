"""Load the settings: flag over environment over file over default, with the origin of each value."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

from flowd.errors import UsageError
from flowd.settings import Settings

PREFIX = "FLOWD_"
DEFAULT_FILE = Path("/etc/flowd/config.yaml")
MAX_FILE = 1 << 20
NOT_SETTINGS = {"FLOWD_SERVER", "FLOWD_CONFIG", "FLOWD_DEMO_DIR"}


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """A row of the configuration table: names, default and description of a setting."""

    name: str
    flag: str
    variable: str
    default: str | int | float | bool | tuple[str | int, ...]
    description: str
    repeatable: bool
    choices: tuple[str, ...]

    @property
    def default_text(self) -> str:
        """The default as it is written in a file; "" for none."""
        if isinstance(self.default, tuple):
            return " ".join(map(str, self.default))
        return str(self.default)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and the origin of each by name."""

    settings: Settings
    origins: Mapping[str, str]


def setting_table() -> list[SettingInfo]:
    """Describe every setting, in the order of the struct."""
    hints = get_type_hints(Settings, include_extras=True)
    return [_info(field, hints[field.name]) for field in msgspec.structs.fields(Settings)]


def load(flags: Mapping[str, object], config: str | None = None) -> Loaded:
    """Merge flags, environment, file and defaults.

    Args:
        flags: values of the flags on the command line, by setting name.
        config: path of the file; by default FLOWD_CONFIG, then /etc/flowd/config.yaml if it exists.

    Raises:
        UsageError: an unknown setting, a value of the wrong type, or a file that cannot be used.
    """
    table = {info.name: info for info in setting_table()}
    layers: list[tuple[str, Mapping[str, object]]] = []
    path = (
        config or os.environ.get("FLOWD_CONFIG") or (DEFAULT_FILE if DEFAULT_FILE.is_file() else "")
    )
    if path:
        layers.append((f"file {path}", _read(Path(path), table)))
    layers.append(("environment", _environment(table)))
    layers.append(("flag", flags))

    values: dict[str, object] = {}
    origins = dict.fromkeys(table, "default")
    for origin, layer in layers:
        for name, value in layer.items():
            values[name] = _checked(table[name], value, origin)
            origins[name] = (
                f"environment {table[name].variable}" if origin == "environment" else origin
            )
    return Loaded(msgspec.convert(values, Settings), origins)


def unknown_variables() -> list[str]:
    """FLOWD_* variables that set nothing, except those that Kubernetes sets for Services."""
    known = {info.variable for info in setting_table()} | NOT_SETTINGS
    return sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX)
        and name not in known
        and "_SERVICE_" not in name
        and "_PORT" not in name
    )


def _info(field: msgspec.structs.FieldInfo, hint: Any) -> SettingInfo:
    kind, meta = get_args(hint)[:2]
    default = field.default
    if default is msgspec.NODEFAULT:
        default = field.default_factory()
    args = get_args(kind)
    literal = all(isinstance(arg, str) for arg in args)
    return SettingInfo(
        name=field.name,
        flag="--" + field.name.replace("_", "-"),
        variable=PREFIX + field.name.upper(),
        default=default,
        description=meta.description,
        repeatable=get_origin(kind) is tuple,
        choices=tuple(args) if args and literal else (),
    )


def _environment(table: Mapping[str, SettingInfo]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, info in table.items():
        text = os.environ.get(info.variable)
        if text is not None:
            found[name] = _split(text) if info.repeatable else text
    return found


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _read(path: Path, table: Mapping[str, SettingInfo]) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"cannot read configuration {path}: {error.strerror}") from error
    if len(text) > MAX_FILE:
        raise UsageError(f"configuration {path} is larger than {MAX_FILE >> 20} MiB")
    try:
        document: object = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or str(error).partition("\n")[0])
        raise UsageError(f"configuration {path}{line} is not YAML: {problem}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"configuration {path} must be a mapping of settings, one a line")
    settings: dict[str, object] = {str(key): value for key, value in document.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for name in settings:
        if name not in table:
            raise UsageError(
                f"configuration {path}: unknown setting {name!r}{suggest(name, list(table))}",
                "`flowd config show` lists every setting",
            )
    return settings


def suggest(word: str, known: Sequence[str]) -> str:
    """Suggest the nearest known word as `, did you mean 'x'?`; "" if none is near."""
    near = difflib.get_close_matches(word, known, 1, 0.6)
    return f", did you mean {near[0]!r}?" if near else ""


def _checked(info: SettingInfo, value: object, origin: str) -> object:
    if info.repeatable and isinstance(value, str):
        value = [value]
    hint = get_type_hints(Settings, include_extras=True)[info.name]
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        where = {"flag": info.flag, "environment": info.variable}.get(
            origin, f"{origin}: {info.name}"
        )
        raise UsageError(
            f"{where}: {value!r} cannot be used: {str(error).partition(' - ')[0]}"
        ) from error
