"""Gateways with all their listeners, including those of ListenerSets, and listener conflicts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowd.gateway.attachment.listener import ListenerState
from flowd.gateway.matching.hostname import ANY
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects

_GROUPS = {"HTTP": "HTTP", "HTTPS": "TLS", "TLS": "TLS", "TCP": "TCP", "UDP": "UDP"}
"""Protocols of equal value can share a port if their hostnames differ."""


@dataclass(slots=True)
class GatewayState:
    """A Gateway or IngressClass with its listeners in order of precedence."""

    namespace: str
    name: str
    class_name: str
    listeners: list[ListenerState]


@dataclass(frozen=True, slots=True)
class ParentListener:
    """A listener with its specification, which restricts the routes that may attach.

    Attributes:
        namespace: namespace of the Gateway or ListenerSet that defines the listener.
    """

    listener: ListenerState
    spec: gw.Listener
    namespace: str


@dataclass(slots=True)
class ParentIndex:
    """Listeners by the parent that a parentRef can name.

    Attributes:
        by_parent: listeners by kind, namespace and name of the Gateway or ListenerSet.
        problems: reason why the Gateway rejects a ListenerSet, by the same key.
    """

    by_parent: dict[tuple[str, str, str], list[ParentListener]] = field(
        default_factory=dict[tuple[str, str, str], list[ParentListener]]
    )
    problems: dict[tuple[str, str, str], str] = field(
        default_factory=dict[tuple[str, str, str], str]
    )


def read_gateways(objects: Objects) -> tuple[dict[str, GatewayState], ParentIndex]:
    """Build Gateways by `namespace/name`, and the index of their listeners by parent.

    Conflicting listeners get a `problem`: both of a Gateway's own listeners, but only the later
    listener of a ListenerSet (GEP-1713: the Gateway, then sets by age, then by name).
    """
    gateways: dict[str, GatewayState] = {}
    parents = ParentIndex()
    sets = list(_sets(objects))
    number = 0
    for (namespace, name), gateway in sorted(objects.gateways.items()):
        owners: list[tuple[tuple[str, str, str], Iterable[gw.Listener]]] = [
            (("Gateway", namespace, name), gateway.spec.listeners)
        ]
        for kind, entry in sets:
            ref = entry.spec.parent_ref
            set_namespace = entry.metadata.namespace
            if (ref.kind, ref.namespace or set_namespace, ref.name) != ("Gateway", namespace, name):
                continue
            key = kind, set_namespace, entry.metadata.name
            if _allowed(
                gateway.spec.allowed_listeners.namespaces, namespace, set_namespace, objects
            ):
                owners.append((key, entry.spec.listeners))
            else:
                parents.problems[key] = f"Gateway {namespace}/{name} does not allow ListenerSet"
        listeners: list[ListenerState] = []
        for key, specs in owners:
            added: list[ParentListener] = []
            for spec in specs:
                listener = ListenerState(
                    namespace,
                    name,
                    spec.name,
                    spec.port,
                    spec.protocol,
                    spec.hostname.lower() or ANY,
                    number,
                    "" if key[0] == "Gateway" else f"{key[1]}/{key[2]}",
                )
                number += 1
                added.append(ParentListener(listener, spec, key[1]))
                _note_conflict(listener, listeners)
                listeners.append(listener)
            parents.by_parent[key] = added
        class_name = gateway.spec.gateway_class_name
        gateways[f"{namespace}/{name}"] = GatewayState(namespace, name, class_name, listeners)
    return gateways, parents


def _sets(objects: Objects) -> Iterator[tuple[str, gw.ListenerSet]]:
    """Yield ListenerSets by age, then by name; an XListenerSet counts as a ListenerSet."""
    merged = {**objects.x_listener_sets, **objects.listener_sets}

    def age(item: gw.ListenerSet) -> tuple[bool, str, str, str]:
        created = item.metadata.creation_timestamp
        return not created, created, *item.key

    for item in sorted(merged.values(), key=age):
        yield "ListenerSet", item


def _allowed(allowed: gw.ListenerNamespaces, own: str, other: str, objects: Objects) -> bool:
    match allowed.from_:
        case "All":
            return True
        case "Same":
            return own == other
        case "Selector":
            return allowed.selector.matches(objects.namespace_labels(other))
        case "None":
            return False


def _note_conflict(listener: ListenerState, listeners: list[ListenerState]) -> None:
    for other in listeners:
        if other.problem and other.set_id:
            continue
        problem = _conflict(listener, other)
        if problem:
            listener.problem = problem
            if not listener.set_id:
                other.problem = problem
            return


class HasPort(Protocol):
    """Attributes of a listener that decide about conflicts."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> str: ...
    @property
    def hostname(self) -> str: ...


def conflicts(listeners: Sequence[HasPort]) -> dict[str, str]:
    """Find conflicting listeners of one Gateway; return the reason by listener name.

    A listener of a ListenerSet (its name has the set's name in front) loses to all earlier ones.
    """
    found: dict[str, str] = {}
    for at, listener in enumerate(listeners):
        for other in listeners[:at]:
            lost = other.name in found and "/" in other.name
            if not lost and (reason := _conflict(listener, other)):
                found[listener.name] = reason
                if "/" not in listener.name:
                    found.setdefault(other.name, reason)
    return {entry.name: found[entry.name] for entry in listeners if entry.name in found}


def _conflict(one: HasPort, other: HasPort) -> str:
    """Reason why two listeners of a Gateway conflict (API reason), or ""."""
    if one.port != other.port or (one.protocol == "UDP") != (other.protocol == "UDP"):
        return ""
    if _GROUPS.get(one.protocol) != _GROUPS.get(other.protocol):
        return "ProtocolConflict"
    return "HostnameConflict" if one.hostname == other.hostname else ""
