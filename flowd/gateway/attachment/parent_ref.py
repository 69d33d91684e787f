"""Which listeners accept a route, in the Gateway API's own words when none does."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from flowd.gateway.attachment.listener import Listener, supported_kinds
from flowd.gateway.attachment.listeners import Offer
from flowd.gateway.matching.hostname import ANY, intersection
from flowd.gateway.matching.rules import Route
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects


@dataclass(frozen=True, slots=True)
class Condition:
    """A status condition of a route's parent."""

    type: str
    status: bool
    reason: str
    message: str = ""


_ACCEPTED = Condition("Accepted", True, "Accepted")
_REASONS = ("InvalidKind", "RefNotPermitted", "BackendNotFound")
_RESOLVED = Condition("ResolvedRefs", True, "ResolvedRefs")


@dataclass(frozen=True, slots=True)
class Parent:
    """A parentRef of a route, and how it went.

    Attributes:
        kind: Gateway, ListenerSet, Service or IngressClass; the two names are of the Gateway that
            a ListenerSet belongs to where it is known, else of what the parentRef names.
        section: the listener that the parentRef names, or "".
        listeners: names of the listeners that accept the route.
    """

    gateway_namespace: str
    gateway: str
    section: str
    listeners: tuple[str, ...]
    conditions: tuple[Condition, ...]
    kind: str = "Gateway"


def attach_parent(
    route: Route,
    ref: gw.ParentRef,
    offers: Sequence[Offer] | None,
    objects: Objects,
    problem: str = "",
) -> tuple[Parent, list[tuple[Listener, str]]]:
    """The outcome for one parentRef, and (listener, hostname) for each pair to match under.

    Args:
        offers: the listeners of the Gateway or ListenerSet that the parentRef names; None when
            there is none.
        problem: why there is none.
    """
    namespace = ref.namespace or route.namespace
    pairs, reason, message = _attach(route, ref, offers, objects, problem)
    good = bool(pairs) and not message
    accepted = _ACCEPTED if good else Condition("Accepted", bool(pairs), reason, message)
    names = tuple(dict.fromkeys(listener.full_name for listener, _ in pairs))
    conditions = (accepted, resolved_refs(route))
    owner = offers[0].listener if offers else None
    where = (owner.gateway_namespace, owner.gateway) if owner else (namespace, ref.name)
    return _parent(Parent(*where, ref.section_name, names, conditions, ref.kind)), pairs


@lru_cache(1024)
def _parent(parent: Parent) -> Parent:
    """One object for all parentRefs of which the same is true."""
    return parent


def _attach(
    route: Route,
    ref: gw.ParentRef,
    offers: Sequence[Offer] | None,
    objects: Objects,
    problem: str,
) -> tuple[list[tuple[Listener, str]], str, str]:
    if offers is None:
        gateway = f"{ref.namespace or route.namespace}/{ref.name}"
        return [], "NoMatchingParent", problem or f"{ref.kind} {gateway} is not there"
    wanted = [
        offer
        for offer in offers
        if ref.section_name in ("", offer.spec.name) and ref.port in (None, offer.spec.port)
    ]
    if not wanted:
        gateway = f"{ref.namespace or route.namespace}/{ref.name}"
        asked = f"listener {ref.section_name}" if ref.section_name else f"port {ref.port}"
        return [], "NoMatchingParent", f"{ref.kind} {gateway} has no {asked}"
    allowing = [offer for offer in wanted if _allows(offer, route, objects)]
    if not allowing:
        names = ", ".join(offer.spec.name for offer in wanted)
        return [], "NotAllowedByListeners", f"{route.kind} of {route.namespace} on {names}"
    pairs = [
        (offer.listener, shared)
        for offer in allowing
        for shared in _hostnames(route, offer.listener)
    ]
    if not pairs:
        names = ", ".join(f"{offer.spec.name} {offer.listener.hostname}" for offer in allowing)
        return [], "NoMatchingListenerHostname", f"{', '.join(route.hostnames)} on {names}"
    if not route.rules:
        return [], route.reason, route.problem or "no rules"
    return pairs, "Accepted", route.problem


def _hostnames(route: Route, listener: Listener) -> list[str]:
    """The hostnames that route and listener share; TCP and UDP have none to compare."""
    if not (listener.is_http or listener.is_tls) or route.kind == "TCPRoute":
        return [ANY]
    shared = (intersection(name, listener.hostname) for name in route.hostnames)
    return list(dict.fromkeys(name for name in shared if name))


def _allows(offer: Offer, route: Route, objects: Objects) -> bool:
    spec = offer.spec
    if route.kind not in supported_kinds(spec):
        return False
    kinds = spec.allowed_routes.kinds
    if kinds and (gw.GROUP, route.kind) not in [(kind.group, kind.kind) for kind in kinds]:
        return False
    allowed = spec.allowed_routes.namespaces
    match allowed.from_:
        case "All":
            return True
        case "Same":
            return route.namespace == offer.namespace
        case "Selector":
            return allowed.selector.matches(objects.namespace_labels(route.namespace))
        case "None":
            return False


def resolved_refs(route: Route) -> Condition:
    """The ResolvedRefs condition: the worst of what is wrong with the route's backends."""
    backends = [
        backend
        for rule in route.rules
        for backend in (*rule.backends, *rule.mirrors)
        if backend.reason
    ]
    for reason in _REASONS if backends else ():
        wrong = [backend.ref.backend_id for backend in backends if backend.reason == reason]
        if wrong:
            return Condition("ResolvedRefs", False, reason, ", ".join(dict.fromkeys(wrong)))
    return _RESOLVED
