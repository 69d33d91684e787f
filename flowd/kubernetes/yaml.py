"""Parse untrusted YAML into plain Python values, with bounds on depth and number of nodes.

The parser works on libyaml's events instead of a loader: no recursion, no tags, no unbounded
aliases or merges. Dates stay text, as in the Kubernetes API.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import yaml

MAX_DEPTH = 64
MAX_NODES = 2_000_000
"""Most nodes of one document; an alias counts as many nodes as it stands for."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.capitalize(), word.upper())
}


class BadYaml(Exception):
    """Invalid YAML document; `line` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def as_mapping(value: object) -> dict[object, object] | None:
    """Return the value if it is a mapping, else None."""
    return cast("dict[object, object]", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """Return the value if it is a sequence, else None."""
    return cast("list[object]", value) if isinstance(value, list) else None


@dataclass(slots=True)
class _Open:
    """An open mapping or sequence; `start` is the node count at its beginning."""

    value: dict[object, object] | list[object]
    anchor: str | None
    start: int
    key: object = None
    has_key: bool = False
    merges: list[object] = field(default_factory=list[object])

    @property
    def wants_key(self) -> bool:
        return isinstance(self.value, dict) and not self.has_key


def documents(text: bytes) -> Iterator[tuple[int, object]]:
    """Yield first line (from 1) and value of each document that is not empty.

    Raises:
        BadYaml: the text does not parse, or a document exceeds a bound.
    """
    builder = _Builder()
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    line = first = 0
    try:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else line
            if isinstance(event, yaml.DocumentStartEvent):
                builder, first = _Builder(), line
            elif isinstance(event, yaml.DocumentEndEvent):
                if builder.root is not None:
                    yield first, builder.root
            else:
                builder.feed(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise BadYaml(str(reason), mark.line + 1 if mark else max(line, 1)) from None
    except _Bound as bound:
        raise BadYaml(str(bound), line) from None


class _Bound(Exception):
    pass


class _Builder:
    """Build the value of one document from parser events."""

    def __init__(self) -> None:
        self.root: object = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self._nodes = 0

    def feed(self, event: object) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._count(1)
            value: object = event.value if self._expects_key() else _scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = value, 1
            self._add(value)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({}, event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([], event.anchor)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            known = self._anchors.get(event.anchor or "")
            if known is None:
                raise _Bound(f"alias *{event.anchor} has no anchor before it")
            self._count(known[1])
            self._add(known[0])

    def _expects_key(self) -> bool:
        """Whether a key of a mapping comes next; keys always stay text."""
        return bool(self._stack) and self._stack[-1].wants_key

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _Bound(f"more than {MAX_NODES} values in one document, aliases included")

    def _open(self, value: dict[object, object] | list[object], anchor: str | None) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise _Bound(f"nested deeper than {MAX_DEPTH} levels")
        self._stack.append(_Open(value, anchor, self._nodes))
        self._count(1)

    def _close(self) -> None:
        top = self._stack.pop()
        if isinstance(top.value, dict):
            for merged in top.merges:
                _merge(top.value, merged)
        if top.anchor:
            self._anchors[top.anchor] = top.value, self._nodes - top.start
        self._add(top.value)

    def _add(self, value: object) -> None:
        if not self._stack:
            self.root = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif not top.has_key:
            if isinstance(value, (dict, list)):
                raise _Bound("a mapping or list is used as a key")
            top.key, top.has_key = value, True
        else:
            if top.key == "<<":
                top.merges.append(value)
            else:
                top.value[top.key] = value
            top.has_key = False


def _merge(into: dict[object, object], merged: object) -> None:
    items = as_list(merged)
    for part in [merged] if items is None else items:
        mapping = as_mapping(part)
        if mapping is None:
            raise _Bound("<< needs a mapping or a list of mappings")
        for key, value in mapping.items():
            into.setdefault(key, value)


def _scalar(event: yaml.ScalarEvent) -> object:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) < 40:
        return float(text)
    return text
