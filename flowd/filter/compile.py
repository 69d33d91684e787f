"""Compile Hubble's flow filters into one function from FLOW rows to a boolean mask."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from flowd.filter.cost import CostMeter, check
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
"""Encodes rows as flow.Flow messages, for CEL expressions."""

_MAX_FILTERS = 4096
_MAX_VALUES = 16384
_MAX_PATTERNS = 128
_MAX_EXPRESSIONS = 16
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
    """Compile filters into a function from N rows to a mask of shape (N,).

    The function keeps tables that grow with the directory; use it on one thread only.

    Args:
        whitelist: at least one must match; an empty list matches every row.
        blacklist: none may match.
        routes: flowd's own filters, which must all match too.
        messages: encoder for CEL expressions; required for them.
        trusted: the operator's own filters, without a bound on CPU time.

    Raises:
        FilterError: an invalid value, named in the message; or too many values.
        UnsupportedFilter: a CEL expression without `messages`, or without its library.
        CostlyFilter: raised by the returned function if the filters take too long.
    """
    white, black = check_bounds(whitelist, blacklist)
    wanted = [_conjunction(one, directory, messages) for one in white]
    excluded = [_conjunction(one, directory, messages) for one in black]
    route_tests = (routes or RouteFilter()).tests(directory)

    def select(rows: FlowRows) -> Mask:
        mask = np.ones(len(rows), np.bool_)
        for test in route_tests:
            mask &= test(rows)
        if wanted:
            mask &= _any(wanted, rows, mask)
        if excluded:
            mask &= ~_any(excluded, rows, mask)
        return mask

    if trusted:
        return select
    meter = CostMeter()

    def metered(rows: FlowRows) -> Mask:
        with meter.batch():
            return select(rows)

    return metered


def check_bounds(
    whitelist: Iterable[FlowFilter], blacklist: Iterable[FlowFilter]
) -> tuple[list[FlowFilter], list[FlowFilter]]:
    """Check the size of both lists, and return them as lists.

    Raises:
        FilterError: too many filters, values, regular expressions or CEL expressions.
    """
    white, black = list(whitelist), list(blacklist)
    values = patterns = expressions = 0
    for one in (*white, *black):
        for field, value in one.ListFields():
            expressions += len(one.experimental.cel_expression) if field.number == 999 else 0
            values += len(value) if field.is_repeated else 0
            patterns += len(value) if field.name in _PATTERNS else 0
    for count, most, kind in (
        (max(len(white), len(black)), _MAX_FILTERS, "filters in one list"),
        (values, _MAX_VALUES, "values in filters"),
        (patterns, _MAX_PATTERNS, "regular expressions"),
        (expressions, _MAX_EXPRESSIONS, "CEL expressions"),
    ):
        if count > most:
            raise FilterError(f"{count} {kind}; at most {most}")
    return white, black


def _any(filters: Sequence["_Conjunction"], rows: FlowRows, among: Mask) -> Mask:
    mask = np.zeros(len(rows), np.bool_)
    for one in filters:
        check()
        mask |= one(rows, among & ~mask)
    return mask


class _Conjunction:
    """One FlowFilter: every set field must match. Columns are tested first, then text, CEL last."""

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
    """CEL expressions of one FlowFilter; at least one must be true."""

    def __init__(self, matches: Matches, messages: Messages) -> None:
        self._matches = matches
        self._messages = messages

    def narrow(self, rows: FlowRows, mask: Mask) -> None:
        """Clear the rows of `mask` that do not match; evaluates only rows still set."""
        places = np.flatnonzero(mask)
        if len(places):
            mask[places] = [self._matches_in_time(one) for one in self._messages(rows[places])]

    def _matches_in_time(self, flow: Flow) -> bool:
        check()
        return self._matches(flow)


def _conjunction(
    wanted: FlowFilter, directory: Directory, messages: Messages | None
) -> _Conjunction:
    fields = set_fields(wanted)
    columns: list[Test] = []
    texts: list[TextTest] = []
    for name, field in FIELDS.items():
        if name in fields:
            test = field.make_test(field.parse(name, list(fields[name])), directory)
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


def set_fields(wanted: FlowFilter) -> dict[str, Any]:
    """The set fields of a filter, by name.

    Raises:
        FilterError: fields that exclude each other.
    """
    values: dict[str, Any] = {field.name: value for field, value in wanted.ListFields()}
    http = sorted(name for name in values if name.startswith("http_"))
    types = {kind.type for kind in wanted.event_type}
    if http and types and EventType.L7 not in types:
        raise FilterError(f"{http[0]}: needs event_type l7 (129) among the event types, or none")
    return values
