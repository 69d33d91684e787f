"""A parser of text lines, made from Envoy's `text_format`."""

import re
from collections.abc import Sequence

from flowd.accesslog.fields import Field, field_of
from flowd.accesslog.operators import Operator, split_format
from flowd.accesslog.raw_to_columns import Plan, Row
from flowd.accesslog.times import pattern

ENVOY = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
"""Envoy's own default, which Contour and Cilium have too."""
ISTIO = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
    '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% '
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% '
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% "
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%"
)

_NUMBERS = frozenset(("RESPONSE_CODE", "BYTES_RECEIVED", "BYTES_SENT", "DURATION"))


class TextFormat:
    """Reads lines of one format.

    No part of a pattern is ever tried twice at one place, so a line takes time in proportion to its
    length, whoever wrote it. A value ends where the literal after it begins: at its first character
    if the line fits so, else where the whole literal stands, which lets a quotation mark into a
    user agent.

    Raises:
        ValueError: the format cannot be read.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = split_format(text.rstrip("\r\n"))
        if any(isinstance(part, str) and "\n" in part for part in parts):
            raise ValueError("an entry of more than one line")
        parts = _merged(parts)
        self.fields: list[Field] = []
        self._strict = _compile(parts, self.fields, whole=False)
        self._lenient = _compile(parts, [], whole=True)
        self.plan = Plan(self.fields)

    def read(self, line: str) -> Row | None:
        """A line's raw values by the plan, or None when it does not fit."""
        found = self._strict.fullmatch(line) or self._lenient.fullmatch(line)
        return found.groups() if found else None


def _merged(parts: Sequence[str | Operator]) -> list[str | Operator]:
    """Operators without text between them cannot be told apart: they become one, skipped."""
    merged: list[str | Operator] = []
    for part in parts:
        if isinstance(part, Operator) and merged and isinstance(merged[-1], Operator):
            merged[-1] = Operator("SKIPPED")
        else:
            merged.append(part)
    return merged


def _compile(
    parts: Sequence[str | Operator], fields: list[Field], *, whole: bool
) -> re.Pattern[str]:
    """The pattern of a line; adds the field of each group to `fields`."""
    pieces: list[str] = []
    for at, part in enumerate(parts):
        if isinstance(part, str):
            pieces.append(re.escape(part))
            continue
        after = parts[at + 1] if at + 1 < len(parts) else ""
        field = field_of(part)
        value = _value(part, field, after if isinstance(after, str) else "", whole=whole)
        if field:
            fields.append(field)
        pieces.append(f"({value})" if field else f"(?:{value})")
    return re.compile("".join(pieces), re.DOTALL)


def _value(operator: Operator, field: Field | None, after: str, *, whole: bool) -> str:
    if field and field.form:
        return f"(?>{re.sub(r'[(][?]P<[a-zA-Z]>', '(?:', pattern(field.form).pattern)})"
    if operator.name in _NUMBERS:
        return r"[0-9]++|-"
    if not after:
        return ".*+"
    other = f"[^{re.escape(after[0])}]"
    if whole and len(after) > 1:
        return f"(?>{other}*(?:{re.escape(after[0])}(?!{re.escape(after[1:])}){other}*)*)"
    return f"{other}*+"
