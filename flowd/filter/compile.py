"""Hubble's filters as one function from rows to a mask."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from flowd.filter.errors import FilterError, UnsupportedFilter
from flowd.filter.fields import BUILDERS
from flowd.filter.routes import RouteFilter
from flowd.filter.tables import Mask, Test, TextTest
from flowd.model.directory import Directory
from flowd.model.enums import EventType
from flowd.model.flow import FlowRows
from flowd.wire.flow.flow_pb2 import FlowFilter

Select: TypeAlias = Callable[[FlowRows], Mask]

_MOST_FILTERS = 4096


def compile_filters(
    whitelist: Iterable[FlowFilter],
    blacklist: Iterable[FlowFilter],
    directory: Directory,
    routes: RouteFilter | None = None,
) -> Select:
    """A function from rows to a mask of shape (rows,): whitelisted, not blacklisted.

    The function keeps tables that grow with the directory; it belongs to one thread.

    Args:
        whitelist: any of them must match; none means everything does.
        blacklist: none of them may match.
        routes: flowd's own filters, all of which must match too.

    Raises:
        FilterError: a value that cannot be used, named in the message.
        UnsupportedFilter: a CEL expression.
    """
    wanted = [_conjunction(one, directory) for one in _bounded(whitelist)]
    refused = [_conjunction(one, directory) for one in _bounded(blacklist)]
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

    return select


def _bounded(filters: Iterable[FlowFilter]) -> Sequence[FlowFilter]:
    found = list(filters)
    if len(found) > _MOST_FILTERS:
        raise FilterError(f"{len(found)} filters in one list; at most {_MOST_FILTERS}")
    return found


def _any(filters: Sequence["_Conjunction"], rows: FlowRows, among: Mask) -> Mask:
    mask = np.zeros(len(rows), np.bool_)
    for one in filters:
        mask |= one(rows, among & ~mask)
    return mask


class _Conjunction:
    """One FlowFilter: every field that is set must match. Cheap columns go first, text last."""

    def __init__(self, columns: list[Test], texts: list[TextTest]) -> None:
        self._columns = columns
        self._texts = texts

    def __call__(self, rows: FlowRows, among: Mask) -> Mask:
        mask = among.copy()
        for test in self._columns:
            mask &= test(rows)
        for text in self._texts:
            text.narrow(rows, mask)
        return mask


def _conjunction(wanted: FlowFilter, directory: Directory) -> _Conjunction:
    held = check_fields(wanted)
    columns: list[Test] = []
    texts: list[TextTest] = []
    for name, build in BUILDERS.items():
        if name in held:
            test = build(name, list(held[name]), directory)
            if isinstance(test, TextTest):
                texts.append(test)
            else:
                columns.append(test)
    return _Conjunction(columns, texts)


def check_fields(wanted: FlowFilter) -> dict[str, Any]:
    """The fields of a filter that are set, by name.

    Raises:
        FilterError: fields that exclude each other.
        UnsupportedFilter: a CEL expression.
    """
    held: dict[str, Any] = {field.name: value for field, value in wanted.ListFields()}
    if "experimental" in held:
        raise UnsupportedFilter(
            "CEL expressions are not supported", "use the native filters of the same flow fields"
        )
    http = sorted(name for name in held if name.startswith("http_"))
    types = {kind.type for kind in wanted.event_type}
    if http and types and EventType.L7 not in types:
        raise FilterError(f"{http[0]}: needs event_type l7 (129) among the event types, or none")
    return held
