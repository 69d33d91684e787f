"""Readers of JSON entries: by the keys alone, or made from Envoy's `json_format`."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from flowd.accesslog.fields import field_of
from flowd.accesslog.keys import known_field
from flowd.accesslog.operators import Operator, split_format
from flowd.accesslog.raw_to_columns import Plan, Row
from flowd.accesslog.textformat import TextFormat

Keys: TypeAlias = tuple[str, ...]
_MAX_DEPTH = 16


class JsonFormat:
    """One `json_format`: nested objects, and values made of text and several operators, included.

    Raises:
        ValueError: a value's format cannot be read, or no operator in it is known.
    """

    def __init__(self, spec: Mapping[Any, Any]) -> None:
        self.keys = frozenset(str(key) for key in spec)
        self._simple: dict[str, Operator] = {}
        self._composite: list[tuple[Keys, TextFormat]] = []
        self._add(spec, ())
        flat = all(len(path) == 1 for path in self._paths)
        self._flat = flat and not self._composite

    @property
    def _paths(self) -> list[Keys]:
        return [tuple(path.split("\0")) for path in self._simple]

    def covers(self, keys: Keys) -> bool:
        """Whether a line with these keys is of this format; Envoy may leave empty values out."""
        return self.keys.issuperset(keys) or self.keys.issubset(keys)

    def reader(self, keys: Keys) -> "Reader":
        """How to read lines with these keys."""
        if self._flat:
            found = (self._simple.get(key) for key in keys)
            return Reader(Plan([field_of(operator) if operator else None for operator in found]))
        fields = [field_of(operator) for operator in self._simple.values()]
        plan = Plan([*fields, *_fields([form for _, form in self._composite])])
        return Reader(plan, self._paths, self._composite)

    def _add(self, spec: Mapping[Any, Any], path: Keys) -> None:
        if len(path) > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        for key, value in spec.items():
            here = (*path, str(key))
            if isinstance(value, Mapping):
                self._add(cast("Mapping[Any, Any]", value), here)
            elif isinstance(value, str) and "%" in value:
                self._value(here, value)

    def _value(self, path: Keys, text: str) -> None:
        parts = split_format(text)
        if len(parts) == 1 and isinstance(parts[0], Operator):
            self._simple["\0".join(path)] = parts[0]
        else:
            self._composite.append((path, TextFormat(text)))


class Reader:
    """Reads the values of JSON objects with one set of keys.

    Args:
        paths, composite: for objects that are not flat; else the values are taken as they come.
    """

    def __init__(
        self,
        plan: Plan,
        paths: Sequence[Keys] = (),
        composite: Sequence[tuple[Keys, TextFormat]] = (),
    ) -> None:
        self.plan = plan
        self._paths = paths
        self._composite = composite
        self.is_flat = not paths and not composite

    def row(self, entry: dict[str, Any]) -> Row:
        """An object's raw values by the plan."""
        if self.is_flat:
            return tuple(entry.values())
        values = [_at(entry, path) for path in self._paths]
        for path, form in self._composite:
            text = _at(entry, path)
            found = form.read(text) if isinstance(text, str) else None
            values += found or [None] * form.plan.width
        return tuple(values)


def reader_by_keys(keys: Keys) -> Reader:
    """How to read lines with these keys when no format says what they are."""
    return Reader(Plan([known_field(key) for key in keys]))


def _at(entry: object, path: Keys) -> object:
    for key in path:
        if not isinstance(entry, dict):
            return None
        entry = cast("dict[str, object]", entry).get(key)
    return entry


def _fields(forms: Sequence[TextFormat]) -> list[Any]:
    return [field for form in forms for field in form.fields]
