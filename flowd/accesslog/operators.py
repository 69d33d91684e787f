"""Parse the command operators of Envoy format strings, such as `%REQ(:METHOD)%`.

Syntax: Envoy, "Access logging", section "Command operators".
"""

import re
from dataclasses import dataclass

_OPERATOR = re.compile(
    r"%(?P<name>[A-Z][A-Z0-9_]*)(?:\((?P<argument>(?:[^()]|\([^()]*\))*)\))?(?::\d+)?%"
)
MAX_FORMAT = 64 << 10
"""Longest format string, in characters."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its name, and the argument in parentheses or ""."""

    name: str
    argument: str = ""

    def __str__(self) -> str:
        return f"%{self.name}({self.argument})%" if self.argument else f"%{self.name}%"


def split_format(text: str) -> list[str | Operator]:
    """Split a format string into literals and operators, in order; `%%` is a percent sign.

    Raises:
        ValueError: a `%` without an operator, or a format above MAX_FORMAT.
    """
    if len(text) > MAX_FORMAT:
        raise ValueError(f"longer than {MAX_FORMAT} characters")
    parts: list[str | Operator] = []
    literal, at = "", 0
    while at < len(text):
        percent = text.find("%", at)
        if percent < 0:
            literal += text[at:]
            break
        literal += text[at:percent]
        if text.startswith("%%", percent):
            literal, at = literal + "%", percent + 2
            continue
        found = _OPERATOR.match(text, percent)
        if not found:
            raise ValueError(f"no operator at {text[percent : percent + 40]!r}")
        if literal:
            parts.append(literal)
        parts.append(Operator(found["name"], found["argument"] or ""))
        literal, at = "", found.end()
    return [*parts, literal] if literal else parts
