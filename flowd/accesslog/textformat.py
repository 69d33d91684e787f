"""Parsers of text access-log lines, compiled from an Envoy `text_format`."""

import re
from collections.abc import Sequence

from flowd.accesslog.fields import LogField, field_of
from flowd.accesslog.operators import Operator, split_format
from flowd.accesslog.raw_to_columns import Plan, RawValues
from flowd.accesslog.times import strftime_pattern

ENVOY = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" '
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
"""Envoy's default format, which Contour and Cilium also use."""
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
    """Parses lines of one format.

    The patterns never backtrack, so parsing takes time linear in the length of any line. A value
    ends at the first character of the literal after it. If the line does not match so, a value ends
    at the whole literal, which allows a quotation mark in a user agent.

    Raises:
        ValueError: the format is invalid.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = split_format(text.rstrip("\r\n"))
        if any(isinstance(part, str) and "\n" in part for part in parts):
            raise ValueError("an entry of more than one line")
        parts = _merged(parts)
        self.fields: list[LogField] = []
        self._strict = _compile(parts, self.fields, whole=False)
        self._lenient = _compile(parts, [], whole=True)
        self.plan = Plan(self.fields)

    def read(self, line: str) -> RawValues | None:
        """A line's raw values in the order of the plan, or None for a line of another format."""
        found = self._strict.fullmatch(line) or self._lenient.fullmatch(line)
        return found.groups() if found else None


def _merged(parts: Sequence[str | Operator]) -> list[str | Operator]:
    """Merge adjacent operators, whose values cannot be separated, to one that is skipped."""
    merged: list[str | Operator] = []
    for part in parts:
        if isinstance(part, Operator) and merged and isinstance(merged[-1], Operator):
            merged[-1] = Operator("SKIPPED")
        else:
            merged.append(part)
    return merged


def _compile(
    parts: Sequence[str | Operator], fields: list[LogField], *, whole: bool
) -> re.Pattern[str]:
    """Compile the pattern of a line, and append the field of each group to `fields`.

    Args:
        whole: a value ends at the whole literal after it, not at the literal's first character.
    """
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


def _value(operator: Operator, field: LogField | None, after: str, *, whole: bool) -> str:
    if field and field.form:
        return f"(?>{re.sub(r'[(][?]P<[a-zA-Z]>', '(?:', strftime_pattern(field.form).pattern)})"
    if operator.name in _NUMBERS:
        return r"[0-9]++|-"
    if not after:
        return ".*+"
    other = f"[^{re.escape(after[0])}]"
    if whole and len(after) > 1:
        return f"(?>{other}*(?:{re.escape(after[0])}(?!{re.escape(after[1:])}){other}*)*)"
    return f"{other}*+"
