"""Hubble's filters over flow.Flow messages, for flows that come from files.

The rules are those of `compile_filters`, which does the same over columns.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from flowd.filter.compile import bounded, check_fields
from flowd.filter.extension import backend_of, route_of, struct_of
from flowd.filter.fields import FIELDS, Field
from flowd.filter.grammar.cel import compile_expressions
from flowd.filter.routes import RouteFilter
from flowd.filter.wanted import Predicate
from flowd.wire.flow.flow_pb2 import Flow, FlowFilter

Passes: TypeAlias = Callable[[Flow], bool]


def message_filter(
    whitelist: Iterable[FlowFilter],
    blacklist: Iterable[FlowFilter],
    routes: RouteFilter | None = None,
) -> Passes:
    """A function that tells whether a flow is whitelisted and not blacklisted.

    Args:
        whitelist: any of them must match; none means everything does.
        blacklist: none of them may match.
        routes: flowd's own filters, all of which must match too.

    Raises:
        FilterError: a value that cannot be used, named in the message; or too many of them.
        UnsupportedFilter: a CEL expression, and the library for it is not installed.
    """
    white, black = bounded(whitelist, blacklist)
    wanted = [_conjunction(one) for one in white]
    refused = [_conjunction(one) for one in black]
    routed = _routed(routes or RouteFilter())

    def passes(flow: Flow) -> bool:
        if wanted and not any(one(flow) for one in wanted):
            return False
        return not any(one(flow) for one in refused) and routed(flow)

    return passes


def _conjunction(wanted: FlowFilter) -> Passes:
    held = check_fields(wanted)
    tests = [
        _test(field, field.parse(name, list(held[name])))
        for name, field in FIELDS.items()
        if name in held
    ]
    if wanted.experimental.cel_expression:
        tests.append(compile_expressions(wanted.experimental.cel_expression))
    return lambda flow: all(test(flow) for test in tests)


def _test(field: Field, predicate: Predicate) -> Passes:
    return lambda flow: any(map(predicate, field.held(flow)))


def _routed(wanted: RouteFilter) -> Passes:
    """flowd's own filters over the Struct in `Flow.extensions`."""
    routes, backend, attributions = wanted.predicates()
    if not routes and not backend and not attributions:
        return lambda flow: True
    names = {one.name.lower() for one in attributions}

    def test(flow: Flow) -> bool:
        held = struct_of(flow)
        return (
            all(one(route_of(held)) for one in routes)
            and (not backend or backend(backend_of(held)))
            and (not names or held.get("attribution", "none") in names)
        )

    return test
