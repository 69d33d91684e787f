"""Hubble's filters as one function from rows to a mask."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from flowd.filter.cost import Meter, check
from flowd.filter.fields import FIELDS
from flowd.filter.grammar.cel import Matches, compile_expressions
from flowd.filter.grammar.errors import FilterError, UnsupportedFilter
from flowd.filter.routes import RouteFilter
from flowd.filter.tables import Mask, Test, TextTest
from flowd.model.directory import Directory
from flowd.model.enums import EventType
from flowd.model.records.flow import FlowRows
from flowd.wire.flow.flow_pb2 import Flow, FlowFilter

Select: TypeAlias = Callable[[FlowRows], Mask]

Messages: TypeAlias = Callable[[FlowRows], Iterable[Flow]]
"""Makes flow.Flow messages of rows, for filters that cannot be asked of columns."""

_MOST_FILTERS = 4096
_MOST_VALUES = 16384
_MOST_PATTERNS = 128
_MOST_EXPRESSIONS = 16
_PATTERNS = ("dns_query", "http_path", "http_url")


def compile_filters(
    whitelist: Iterable[FlowFilter],
    blacklist: Iterable[FlowFilter],
    directory: Directory,
    routes: RouteFilter | None = None,
    messages: Messages | None = None,
    *,
    trusted: bool = False,
) -> Select:
    """A function from rows to a mask of shape (rows,): whitelisted, not blacklisted.

    The function keeps tables that grow with the directory; it belongs to one thread.

    Args:
        whitelist: any of them must match; none means everything does.
        blacklist: none of them may match.
        routes: flowd's own filters, all of which must match too.
        messages: what CEL expressions are asked of; needed for them.
        trusted: the filters are the operator's own, and may take as long as they take.

    Raises:
        FilterError: a value that cannot be used, named in the message; or too many of them.
        UnsupportedFilter: a CEL expression, without messages or without the library for it.
        CostlyFilter: raised by the function, when the filters take too long.
    """
    white, black = bounded(whitelist, blacklist)
    wanted = [_conjunction(one, directory, messages) for one in white]
    refused = [_conjunction(one, directory, messages) for one in black]
    route_tests = (routes or RouteFilter()).tests(directory)

    def select(rows: FlowRows) -> Mask:
        mask = np.ones(len(rows), np.bool_)
        for test in route_tests:
            mask &= test(rows)
        if wanted:
            mask &= _any(wanted, rows, mask)
        if refused:
            mask &= ~_any(refused, rows, mask)
        return mask

    if trusted:
        return select
    meter = Meter()

    def metered(rows: FlowRows) -> Mask:
        with meter.batch():
            return select(rows)

    return metered


def bounded(
    whitelist: Iterable[FlowFilter], blacklist: Iterable[FlowFilter]
) -> tuple[list[FlowFilter], list[FlowFilter]]:
    """Both lists, as long as they are not too much to build and to ask.

    Raises:
        FilterError: more filters, values, regular expressions or CEL expressions than that.
    """
    white, black = list(whitelist), list(blacklist)
    values = patterns = expressions = 0
    for one in (*white, *black):
        for field, held in one.ListFields():
            expressions += len(one.experimental.cel_expression) if field.number == 999 else 0
            values += len(held) if field.is_repeated else 0
            patterns += len(held) if field.name in _PATTERNS else 0
    for count, most, what in (
        (max(len(white), len(black)), _MOST_FILTERS, "filters in one list"),
        (values, _MOST_VALUES, "values in filters"),
        (patterns, _MOST_PATTERNS, "regular expressions"),
        (expressions, _MOST_EXPRESSIONS, "CEL expressions"),
    ):
        if count > most:
            raise FilterError(f"{count} {what}; at most {most}")
    return white, black


def _any(filters: Sequence["_Conjunction"], rows: FlowRows, among: Mask) -> Mask:
    mask = np.zeros(len(rows), np.bool_)
    for one in filters:
        check()
        mask |= one(rows, among & ~mask)
    return mask


class _Conjunction:
    """One FlowFilter: every field that is set must match. Columns go first, text later, CEL last."""

    def __init__(
        self, columns: list[Test], texts: list[TextTest], expressions: "_Expressions | None"
    ) -> None:
        self._columns = columns
        self._texts = texts
        self._expressions = expressions

    def __call__(self, rows: FlowRows, among: Mask) -> Mask:
        mask = among.copy()
        for test in self._columns:
            mask &= test(rows)
        for text in self._texts:
            text.narrow(rows, mask)
        if self._expressions:
            self._expressions.narrow(rows, mask)
        return mask


class _Expressions:
    """CEL expressions of one FlowFilter, of which one must be true."""

    def __init__(self, matches: Matches, messages: Messages) -> None:
        self._matches = matches
        self._messages = messages

    def narrow(self, rows: FlowRows, mask: Mask) -> None:
        """Clear in mask the rows that do not match; only rows still set are looked at."""
        places = np.flatnonzero(mask)
        if len(places):
            mask[places] = [self._matches_in_time(one) for one in self._messages(rows[places])]

    def _matches_in_time(self, flow: Flow) -> bool:
        check()
        return self._matches(flow)


def _conjunction(
    wanted: FlowFilter, directory: Directory, messages: Messages | None
) -> _Conjunction:
    held = check_fields(wanted)
    columns: list[Test] = []
    texts: list[TextTest] = []
    for name, field in FIELDS.items():
        if name in held:
            test = field.rows(field.parse(name, list(held[name])), directory)
            if isinstance(test, TextTest):
                texts.append(test)
            else:
                columns.append(test)
    expressions = None
    if wanted.experimental.cel_expression:
        if messages is None:
            raise UnsupportedFilter("cel_expression: there are no messages to ask it of")
        matches = compile_expressions(wanted.experimental.cel_expression)
        expressions = _Expressions(matches, messages)
    return _Conjunction(columns, texts, expressions)


def check_fields(wanted: FlowFilter) -> dict[str, Any]:
    """The fields of a filter that are set, by name.

    Raises:
        FilterError: fields that exclude each other.
    """
    held: dict[str, Any] = {field.name: value for field, value in wanted.ListFields()}
    http = sorted(name for name in held if name.startswith("http_"))
    types = {kind.type for kind in wanted.event_type}
    if http and types and EventType.L7 not in types:
        raise FilterError(f"{http[0]}: needs event_type l7 (129) among the event types, or none")
    return held
