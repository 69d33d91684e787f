"""Attach a route by one parentRef: accepting listeners and the conditions of the parent status."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from flowd.gateway.attachment.listener import ListenerState, supported_kinds
from flowd.gateway.attachment.listeners import ParentListener
from flowd.gateway.matching.hostname import ANY, intersection
from flowd.gateway.matching.rules import Route
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a parent status (gateway-api, RouteParentStatus.conditions)."""

    type: str
    status: bool
    reason: str
    message: str = ""


_ACCEPTED = Condition("Accepted", True, "Accepted")
_REASONS = ("InvalidKind", "RefNotPermitted", "BackendNotFound")
_RESOLVED = Condition("ResolvedRefs", True, "ResolvedRefs")


@dataclass(frozen=True, slots=True)
class ParentStatus:
    """Status of one parentRef of a route (gateway-api, RouteParentStatus).

    Attributes:
        gateway_namespace, gateway: the Gateway; of a ListenerSet, its Gateway where known; else
            the object that the parentRef names.
        section: sectionName of the parentRef, or "".
        listeners: names of the listeners that accept the route.
        kind: Gateway, ListenerSet, Service or IngressClass.
    """

    gateway_namespace: str
    gateway: str
    section: str
    listeners: tuple[str, ...]
    conditions: tuple[Condition, ...]
    kind: str = "Gateway"


def attach_parent(
    route: Route,
    ref: gw.ParentReference,
    candidates: Sequence[ParentListener] | None,
    objects: Objects,
    problem: str = "",
) -> tuple[ParentStatus, list[tuple[ListenerState, str]]]:
    """Attach a route by one parentRef.

    Args:
        candidates: listeners of the Gateway or ListenerSet that the parentRef names; None when it
            does not exist.
        problem: why it does not exist.

    Returns:
        Status of the parentRef, and each accepting listener with a hostname to match under.
    """
    namespace = ref.namespace or route.namespace
    pairs, reason, message = _attach(route, ref, candidates, objects, problem)
    unrestricted = bool(pairs) and not message
    accepted = _ACCEPTED if unrestricted else Condition("Accepted", bool(pairs), reason, message)
    names = tuple(dict.fromkeys(listener.full_name for listener, _ in pairs))
    conditions = (accepted, resolved_refs(route))
    owner = candidates[0].listener if candidates else None
    gateway = (owner.gateway_namespace, owner.gateway) if owner else (namespace, ref.name)
    return _parent(ParentStatus(*gateway, ref.section_name, names, conditions, ref.kind)), pairs


@lru_cache(1024)
def _parent(parent: ParentStatus) -> ParentStatus:
    """Intern a status: equal statuses share one object."""
    return parent


def _attach(
    route: Route,
    ref: gw.ParentReference,
    candidates: Sequence[ParentListener] | None,
    objects: Objects,
    problem: str,
) -> tuple[list[tuple[ListenerState, str]], str, str]:
    if candidates is None:
        gateway = f"{ref.namespace or route.namespace}/{ref.name}"
        return [], "NoMatchingParent", problem or f"{ref.kind} {gateway} is not there"
    named = [
        candidate
        for candidate in candidates
        if ref.section_name in ("", candidate.spec.name) and ref.port in (None, candidate.spec.port)
    ]
    if not named:
        gateway = f"{ref.namespace or route.namespace}/{ref.name}"
        part = f"listener {ref.section_name}" if ref.section_name else f"port {ref.port}"
        return [], "NoMatchingParent", f"{ref.kind} {gateway} has no {part}"
    allowing = [candidate for candidate in named if _allows(candidate, route, objects)]
    if not allowing:
        names = ", ".join(candidate.spec.name for candidate in named)
        return [], "NotAllowedByListeners", f"{route.kind} of {route.namespace} on {names}"
    pairs = [
        (candidate.listener, shared)
        for candidate in allowing
        for shared in _hostnames(route, candidate.listener)
    ]
    if not pairs:
        names = ", ".join(
            f"{candidate.spec.name} {candidate.listener.hostname}" for candidate in allowing
        )
        return [], "NoMatchingListenerHostname", f"{', '.join(route.hostnames)} on {names}"
    if not route.rules:
        return [], route.reason, route.problem or "no rules"
    return pairs, "Accepted", route.problem


def _hostnames(route: Route, listener: ListenerState) -> list[str]:
    """Hostnames that route and listener have in common; `*` for TCP and UDP."""
    if not (listener.is_http or listener.is_tls) or route.kind == "TCPRoute":
        return [ANY]
    shared = (intersection(name, listener.hostname) for name in route.hostnames)
    return list(dict.fromkeys(name for name in shared if name))


def _allows(candidate: ParentListener, route: Route, objects: Objects) -> bool:
    spec = candidate.spec
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
            return route.namespace == candidate.namespace
        case "Selector":
            return allowed.selector.matches(objects.namespace_labels(route.namespace))
        case "None":
            return False


def resolved_refs(route: Route) -> Condition:
    """The ResolvedRefs condition, with the most severe reason among the backends of the route."""
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
