"""One entry as evidence looks at it, and which matches its host and path may come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowd.gateway.attachment.listener import Listener, choose
from flowd.gateway.attribution.entry import Detail, Shape
from flowd.gateway.attribution.names import RouteName
from flowd.gateway.matching.backend import ServicePoint, serves
from flowd.gateway.matching.filters import can_produce, renames
from flowd.gateway.matching.hostname import ANY, matching, normal
from flowd.gateway.matching.virtual_host import Candidate
from flowd.model.enums import Attribution
from flowd.model.route import BackendRef, RouteRef


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome for an entry.

    Attributes:
        by_shape: every entry of that shape has the same.
        conflict: the name of the route and the matching rules disagree.
    """

    route: RouteRef
    backend: BackendRef
    attribution: Attribution
    by_shape: bool = False
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Sides:
    """What is known of both sides of the proxy, the same for every entry of a shape.

    Attributes:
        gateway: `namespace/name`, or "".
        among: the Gateways that it is one of, where a proxy is known to serve several.
        listeners: those that the proxy's port leaves.
        placed: the proxy's port is known, so that the narrowest listener of it took the request.
        points: Services of the upstream address.
        service, owner: Service, or route and rule, that the cluster is named after.
        name: what the names say of the route.
        told: what the metadata says of it.
    """

    shape: Shape
    is_http: bool
    gateway: str
    among: Sequence[str]
    listeners: list[Listener]
    placed: bool
    points: Sequence[ServicePoint]
    service: ServicePoint | None
    owner: RouteName | None
    name: RouteName | None
    told: RouteName | None


@dataclass(frozen=True, slots=True)
class Case:
    """An entry: its two sides, its own part, and its host as compared."""

    sides: Sides
    detail: Detail
    host: str


def asked_host(shape: Shape, detail: Detail) -> str:
    """The host as the client asked for it, as far as something tells."""
    if original := detail.headers.get("x-envoy-original-host"):
        return original
    told = shape.metadata.host if shape.metadata else ""
    return detail.host if not told or told.startswith("*") else told


def narrow(case: Case, listeners: list[Listener]) -> list[Listener]:
    """The listeners that server name and host leave, TLS ones for a TLS connection."""
    if len(listeners) < 2:
        return listeners
    sni, scheme = normal(case.detail.sni), case.detail.scheme
    if case.sides.placed:
        chosen = choose(listeners, sni, case.host) or listeners
    else:
        chosen = [entry for entry in listeners if _covers(entry, sni, case.host)] or listeners
        if not sni and not scheme and case.sides.is_http:
            return chosen
    tls = bool(sni) or scheme == "https"
    return [entry for entry in chosen if entry.is_tls == tls] or chosen


def _covers(listener: Listener, sni: str, host: str) -> bool:
    name = (sni or host) if listener.is_tls else host
    return listener.hostname in (matching(name) if name else (ANY,))


def is_of(candidate: Candidate, name: RouteName) -> bool:
    """Whether a candidate belongs to a route, and to its rule where one is named."""
    return candidate.route.key == name.key and name.rule in (-1, candidate.rule.index)


def fits(case: Case, candidate: Candidate, only: RouteName | None) -> bool:
    """Whether nothing that names or the upstream side tell speaks against a candidate."""
    rule = candidate.rule
    if only and not is_of(candidate, only):
        return False
    if only is None and case.sides.shape.route_name and case.sides.shape.route_name != rule.name:
        return False
    points = [case.sides.service] if case.sides.service else case.sides.points
    return not points or serves(rule, points)


def direct(listener: Listener, host: str, path: str) -> Iterator[Candidate]:
    """The matches that a host and path satisfy as they were logged."""
    vhost = listener.vhost(host)
    for candidate in vhost.candidates if vhost else ():
        if candidate.match.takes_path(path):
            yield candidate


def rewritten(listener: Listener, host: str, path: str) -> Iterator[Candidate]:
    """The matches whose rule's rewrite can have made a logged host and path."""
    vhost = listener.vhost(host)
    for candidate in vhost.candidates if vhost else ():
        if can_produce(candidate.rule.filters, host, path):
            yield candidate
    for candidate in listener.rewriters:
        filters = candidate.rule.filters
        if renames(filters) and can_produce(filters, host, path):
            yield candidate
