"""Compile Hubble's flow filters into one function over flow.Flow messages, for flows from files.

The rules are those of `compile_filters`, which tests columns.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from flowd.filter.compile import check_bounds, set_fields
from flowd.filter.extension import backend_from_extension, extension_fields, route_from_extension
from flowd.filter.fields import FIELDS, FilterField
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
    """Compile filters into a function that says whether a message matches.

    Args:
        whitelist: at least one must match; an empty list matches every message.
        blacklist: none may match.
        routes: flowd's own filters, which must all match too.

    Raises:
        FilterError: an invalid value, named in the message; or too many values.
        UnsupportedFilter: a CEL expression without its library.
    """
    white, black = check_bounds(whitelist, blacklist)
    wanted = [_conjunction(one) for one in white]
    excluded = [_conjunction(one) for one in black]
    routed = _routed(routes or RouteFilter())

    def passes(flow: Flow) -> bool:
        if wanted and not any(one(flow) for one in wanted):
            return False
        return not any(one(flow) for one in excluded) and routed(flow)

    return passes


def _conjunction(wanted: FlowFilter) -> Passes:
    fields = set_fields(wanted)
    tests = [
        _test(field, field.parse(name, list(fields[name])))
        for name, field in FIELDS.items()
        if name in fields
    ]
    if wanted.experimental.cel_expression:
        tests.append(compile_expressions(wanted.experimental.cel_expression))
    return lambda flow: all(test(flow) for test in tests)


def _test(field: FilterField, predicate: Predicate) -> Passes:
    return lambda flow: any(map(predicate, field.message_values(flow)))


def _routed(wanted: RouteFilter) -> Passes:
    """The test of flowd's own filters, over the Struct in `Flow.extensions`."""
    routes, backend, attributions = wanted.predicates()
    if not routes and not backend and not attributions:
        return lambda flow: True
    names = {one.name.lower() for one in attributions}

    def test(flow: Flow) -> bool:
        extension = extension_fields(flow)
        return (
            all(one(route_from_extension(extension)) for one in routes)
            and (not backend or backend(backend_from_extension(extension)))
            and (not names or extension.get("attribution", "none") in names)
        )

    return test
