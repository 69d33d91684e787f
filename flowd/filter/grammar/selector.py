"""Parse Kubernetes label selectors, over labels in Cilium's form `source:key=value`.

A key without a source, or with the source `any`, matches labels of every source.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flowd.filter.grammar.errors import FilterError

_TOKEN = re.compile(r"\s*(?:(==|!=|[=!,()<>])|([^\s=!,()<>]+))")
_KEY = re.compile(r"([a-z0-9-]+:)?([A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause: `key`, `!key`, or key, operator and values."""

    source: str
    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Iterable[str]) -> bool:
        """Whether the labels satisfy the clause."""
        value = self._find(labels)
        match self.operator:
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case order:
                if value is None or not re.fullmatch(r"-?[0-9]{1,18}", value):
                    return False
                bound = int(self.values[0])
                return int(value) > bound if order == ">" else int(value) < bound

    def _find(self, labels: Iterable[str]) -> str | None:
        for label in labels:
            name, _, value = label.partition("=")
            source, colon, key = name.partition(":")
            if not colon:
                source, key = "", name
            if key == self.key and self.source in ("any", source):
                return value
        return None


def parse_selector(text: str) -> Callable[[Sequence[str]], bool]:
    """Parse a selector into a test over an endpoint's labels; an empty selector matches all.

    Raises:
        FilterError: the text is not a selector.
    """
    requirements = _SelectorParser(text).requirements()
    return lambda labels: all(requirement.matches(labels) for requirement in requirements)


class _SelectorParser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error("unreadable")
            self.tokens.append(match[1] or match[2])
            position = match.end()
        self.tokens.append("")
        self.at = 0

    def error(self, reason: str) -> FilterError:
        return FilterError(f"bad label selector {self.text!r}: {reason}")

    def peek(self) -> str:
        return self.tokens[self.at]

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def requirements(self) -> list[Requirement]:
        if not self.peek():
            return []
        found = [self.requirement()]
        while self.peek() == ",":
            self.take()
            found.append(self.requirement())
        if self.peek():
            raise self.error(f"unexpected {self.peek()!r}")
        return found

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            source, key = self.key()
            return Requirement(source, key, "!")
        source, key = self.key()
        match self.peek():
            case "" | ",":
                return Requirement(source, key, "exists")
            case "=" | "==":
                self.take()
                return Requirement(source, key, "in", (self.value(),))
            case "!=":
                self.take()
                return Requirement(source, key, "notin", (self.value(),))
            case "in" | "notin" as operator:
                self.take()
                return Requirement(source, key, operator, self.values())
            case "<" | ">" as operator:
                self.take()
                bound = self.value()
                if not re.fullmatch(r"-?[0-9]{1,18}", bound):
                    raise self.error(f"{bound!r} is not a number")
                return Requirement(source, key, operator, (bound,))
            case other:
                raise self.error(f"unexpected {other!r} after {key!r}")

    def key(self) -> tuple[str, str]:
        token = self.take()
        if not _KEY.fullmatch(token):
            raise self.error(f"{token!r} is not a label key" if token else "a key is missing")
        source, colon, key = token.partition(":")
        return (source, key) if colon else ("any", token)

    def value(self) -> str:
        token = "" if self.peek() in ("", ",", ")") else self.take()
        if not _VALUE.fullmatch(token):
            raise self.error(f"{token!r} is not a label value")
        return token

    def values(self) -> tuple[str, ...]:
        if self.take() != "(":
            raise self.error("( is missing")
        found = [self.value()]
        while self.peek() == ",":
            self.take()
            found.append(self.value())
        if self.take() != ")":
            raise self.error(") is missing")
        return tuple(found)
