"""Protocols of gateway, route and backend descriptions, for the agent's API and `flowd routes`.

flowd.gateway.report.describe implements them.
"""

from collections.abc import Sequence
from typing import Protocol


class ListenerDescription(Protocol):
    """A listener of a Gateway; `hostname` is "" for any host."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> str: ...
    @property
    def hostname(self) -> str: ...


class GatewayDescription(Protocol):
    """A Gateway and its listeners."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def class_name(self) -> str: ...
    @property
    def listeners(self) -> Sequence[ListenerDescription]: ...


class ConditionDescription(Protocol):
    """A Gateway API status condition: `Accepted`, `ResolvedRefs`, with the API's reasons."""

    @property
    def type(self) -> str: ...
    @property
    def status(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def message(self) -> str: ...


class ParentDescription(Protocol):
    """A listener that accepts the route, or a parentRef that no listener accepts."""

    @property
    def gateway_namespace(self) -> str: ...
    @property
    def gateway(self) -> str: ...
    @property
    def listener(self) -> str: ...
    @property
    def conditions(self) -> Sequence[ConditionDescription]: ...


class BackendDescription(Protocol):
    """A backendRef of a rule, with its weight and the number of its endpoints.

    `reason` says why it takes no traffic, or is "". `counted` is False if endpoints are not known;
    their numbers are then 0. `tls` has server name and BackendTLSPolicy if the Gateway connects
    with TLS, or is "".
    """

    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def weight(self) -> int: ...
    @property
    def ready_endpoints(self) -> int: ...
    @property
    def endpoints(self) -> int: ...
    @property
    def counted(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def tls(self) -> str: ...


class RuleDescription(Protocol):
    """A rule; matches and filters are texts: `PathPrefix /login`, `RequestRedirect 301`."""

    @property
    def name(self) -> str: ...
    @property
    def matches(self) -> Sequence[str]: ...
    @property
    def filters(self) -> Sequence[str]: ...
    @property
    def backends(self) -> Sequence[BackendDescription]: ...


class RouteDescription(Protocol):
    """A route object, with the status of each parent."""

    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def hostnames(self) -> Sequence[str]: ...
    @property
    def parents(self) -> Sequence[ParentDescription]: ...
    @property
    def rules(self) -> Sequence[RuleDescription]: ...


class ProblemDescription(Protocol):
    """A problem of an object (`Kind/namespace/name`) that has no description of its own."""

    @property
    def object(self) -> str: ...
    @property
    def what(self) -> str: ...


class Description(Protocol):
    """All known gateways and routes at one moment."""

    @property
    def gateways(self) -> Sequence[GatewayDescription]: ...
    @property
    def routes(self) -> Sequence[RouteDescription]: ...
    @property
    def problems(self) -> Sequence[ProblemDescription]: ...
