"""Hubble's flow filters, and flowd's own, over columns of flows.

`compile_filters` turns lists of flow.FlowFilter into a function from rows to a mask,
`message_filter` into one over messages.

Filters by route travel in `GetFlowsRequest.extensions` as a packed `google.protobuf.Struct` whose
keys are `gateway` (`namespace/name`), `listener` (its name), `route` (`[Kind/]namespace/name`),
`backend` (`namespace/name[:port]`) and `attribution` (`name`, `metadata`, `resolver`, `cluster`,
`listener`, `none`), and whose values are lists of strings:

    {"gateway": ["infra/edge"], "route": ["HTTPRoute/shop/web", "shop/admin"]}

Values of one key are alternatives; different keys, and the whitelist, must all match; the blacklist
still applies. `RouteFilter(gateway=(...,)).pack()` makes that message.
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
