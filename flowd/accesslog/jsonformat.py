"""Parsers of JSON access-log entries: by an Envoy `json_format`, or by their keys alone."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from flowd.accesslog.fields import field_of
from flowd.accesslog.keys import known_field
from flowd.accesslog.operators import Operator, split_format
from flowd.accesslog.raw_to_columns import Plan, RawValues
from flowd.accesslog.textformat import TextFormat

Keys: TypeAlias = tuple[str, ...]
_MAX_DEPTH = 16


class JsonFormat:
    """One `json_format`, with nested objects and values of text and several operators.

    Raises:
        ValueError: the format of a value is invalid or too deep.
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
        """Whether a line with these keys has this format; Envoy can omit empty values."""
        return self.keys.issuperset(keys) or self.keys.issubset(keys)

    def reader(self, keys: Keys) -> "JsonReader":
        """The reader of objects with these keys."""
        if self._flat:
            found = (self._simple.get(key) for key in keys)
            return JsonReader(
                Plan([field_of(operator) if operator else None for operator in found])
            )
        fields = [field_of(operator) for operator in self._simple.values()]
        plan = Plan([*fields, *_fields([form for _, form in self._composite])])
        return JsonReader(plan, self._paths, self._composite)

    def _add(self, spec: Mapping[Any, Any], path: Keys) -> None:
        if len(path) > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        for key, value in spec.items():
            inner = (*path, str(key))
            if isinstance(value, Mapping):
                self._add(cast("Mapping[Any, Any]", value), inner)
            elif isinstance(value, str) and "%" in value:
                self._value(inner, value)

    def _value(self, path: Keys, text: str) -> None:
        parts = split_format(text)
        if len(parts) == 1 and isinstance(parts[0], Operator):
            self._simple["\0".join(path)] = parts[0]
        else:
            self._composite.append((path, TextFormat(text)))


class JsonReader:
    """Extracts the raw values of JSON objects with one set of keys.

    Args:
        paths, composite: of values in objects that are not flat; a flat object gives its values in
            order.
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

    def read(self, entry: dict[str, Any]) -> RawValues:
        """An object's raw values, in the order of the plan."""
        if self.is_flat:
            return tuple(entry.values())
        values = [_get(entry, path) for path in self._paths]
        for path, form in self._composite:
            text = _get(entry, path)
            found = form.read(text) if isinstance(text, str) else None
            values += found or [None] * form.plan.width
        return tuple(values)


def reader_by_keys(keys: Keys) -> JsonReader:
    """The reader of objects with these keys, without a format."""
    return JsonReader(Plan([known_field(key) for key in keys]))


def _get(entry: object, path: Keys) -> object:
    for key in path:
        if not isinstance(entry, dict):
            return None
        entry = cast("dict[str, object]", entry).get(key)
    return entry


def _fields(forms: Sequence[TextFormat]) -> list[Any]:
    return [field for form in forms for field in form.fields]
