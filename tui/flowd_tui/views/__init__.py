"""Views of `flowd top`: Flows, Gateways and Help, from snapshots to rows, cells and details.

`base` has the protocol that every view implements; `tree`, `attach`, `split` and `gateway_detail`
belong to the Gateways view, `flow_fields` and `commands` to Flows. VIEWS lists the views of
`--view` by name. `query` is the filter language. May import `data` and `draw` of flowd_tui,
`flowd.text` and `flowd.wire`; no view knows a terminal.
"""

from collections.abc import Callable
from typing import Any

from flowd_tui.views.base import View
from flowd_tui.views.flows import FlowsView
from flowd_tui.views.gateways import GatewaysView

VIEWS: dict[str, Callable[[], View[Any]]] = {"flows": FlowsView, "gateways": GatewaysView}
