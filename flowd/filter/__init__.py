"""Hubble's flow filters and flowd's own route filters, over FLOW rows or flow.Flow messages.

`compile_filters` turns lists of flow.FlowFilter into a function from rows to a mask,
`message_filter` into a function over messages. `fields` lists the filter fields, `wanted` parses
their values with `grammar`, `columns` and `tables` test rows, `cost` bounds the CPU time. May
import flowd.model, flowd.wire and flowd.errors; used by the hubble and flowlog exporters, and by
`flowd observe`.

Route filters are sent in `GetFlowsRequest.extensions` as a packed `google.protobuf.Struct` with the
keys `gateway` (`namespace/name`), `listener` (its name), `route` (`[Kind/]namespace/name`),
`backend` (`namespace/name[:port]`) and `attribution` (`name`, `metadata`, `resolver`, `cluster`,
`listener`, `none`); values are lists of strings:

    {"gateway": ["infra/edge"], "route": ["HTTPRoute/shop/web", "shop/admin"]}

Values of one key are alternatives; all keys and the whitelist must match; the blacklist still
applies. `RouteFilter(gateway=(...,)).pack()` makes that message.
"""

from flowd.filter.compile import Select, compile_filters
from flowd.filter.grammar.errors import (
    CostlyFilter,
    ExpressionError,
    FilterError,
    UnsupportedFilter,
)
from flowd.filter.grammar.raw import filter_of, parse_filters
from flowd.filter.message import message_filter
from flowd.filter.routes import RouteFilter, route_filter

__all__ = [
    "CostlyFilter",
    "ExpressionError",
    "FilterError",
    "RouteFilter",
    "Select",
    "UnsupportedFilter",
    "compile_filters",
    "filter_of",
    "message_filter",
    "parse_filters",
    "route_filter",
]
