"""RouteRef and BackendRef: listener, route, rule and backend of a request (Gateway API)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RouteRef:
    """Gateway, listener, route, rule and match of a request; each may be unknown.

    Attributes:
        gateway_namespace, gateway, listener: "" when not known.
        kind, namespace, name: the route object; kind is "" when no route matched.
        rule, match: index in the route's rules and in the rule's matches; -1 when not known.
        rule_name: the rule's own `name`, or "".
        reason: why there is no route (`route_not_found`, `filter_chain_not_found`); for a route
            with an undetermined Gateway, the Gateways that share the proxy; else "".
    """

    gateway_namespace: str = ""
    gateway: str = ""
    listener: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    rule: int = -1
    match: int = -1
    rule_name: str = ""
    reason: str = ""

    @property
    def gateway_id(self) -> str:
        """`namespace/name` of the Gateway, or ""."""
        return f"{self.gateway_namespace}/{self.gateway}" if self.gateway else ""

    @property
    def route_id(self) -> str:
        """`Kind/namespace/name` of the route, or ""."""
        return f"{self.kind}/{self.namespace}/{self.name}" if self.kind else ""


@dataclass(frozen=True, slots=True)
class BackendRef:
    """A backendRef of a rule: the Service that received the request, and its weight in the rule."""

    kind: str = "Service"
    namespace: str = ""
    name: str = ""
    port: int = 0
    weight: int = 1

    @property
    def backend_id(self) -> str:
        """`namespace/name:port`, or "" for none."""
        return f"{self.namespace}/{self.name}:{self.port}" if self.name else ""


NO_ROUTE = RouteRef()
NO_BACKEND = BackendRef()
