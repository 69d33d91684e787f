"""The views by name."""

from collections.abc import Callable
from typing import Any

from flowd_tui.views.base import View
from flowd_tui.views.flows import FlowsView
from flowd_tui.views.gateways import GatewaysView

VIEWS: dict[str, Callable[[], View[Any]]] = {"flows": FlowsView, "gateways": GatewaysView}
