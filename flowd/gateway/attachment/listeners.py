"""Gateways with all their listeners: their own, and those that ListenerSets add."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowd.gateway.attachment.listener import Listener
from flowd.gateway.matching.hostname import ANY
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects

_GROUPS = {"HTTP": "HTTP", "HTTPS": "TLS", "TLS": "TLS", "TCP": "TCP", "UDP": "UDP"}
"""Protocols that can share a port as long as their hostnames differ."""


@dataclass(slots=True)
class Gateway:
    """A Gateway and its listeners, in the order of precedence; also an IngressClass."""

    namespace: str
    name: str
    class_name: str
    listeners: list[Listener]


@dataclass(frozen=True, slots=True)
class Offer:
    """A listener, with the part of its object that says whom it takes.

    Attributes:
        namespace: of the Gateway or ListenerSet that it stands in.
    """

    listener: Listener
    spec: gw.Listener
    namespace: str


@dataclass(slots=True)
class Offers:
    """What a parentRef can name.

    Attributes:
        by_parent: by kind, namespace and name of the Gateway or ListenerSet.
        problems: why a ListenerSet adds nothing.
    """

    by_parent: dict[tuple[str, str, str], list[Offer]] = field(
        default_factory=dict[tuple[str, str, str], list[Offer]]
    )
    problems: dict[tuple[str, str, str], str] = field(
        default_factory=dict[tuple[str, str, str], str]
    )


def read_gateways(objects: Objects) -> tuple[dict[str, Gateway], Offers]:
    """Gateways by `namespace/name`, and their listeners as parentRefs see them.

    A listener that conflicts with another has a `problem`: of a Gateway's own both do, of a
    ListenerSet's the later one (GEP-1713: the Gateway, then sets by age, then by name).
    """
    gateways: dict[str, Gateway] = {}
    offers = Offers()
    sets = list(_sets(objects))
    number = 0
    for (namespace, name), gateway in sorted(objects.gateways.items()):
        owners: list[tuple[tuple[str, str, str], Iterable[gw.Listener]]] = [
            (("Gateway", namespace, name), gateway.spec.listeners)
        ]
        for kind, entry in sets:
            ref = entry.spec.parent_ref
            where = entry.metadata.namespace
            if (ref.kind, ref.namespace or where, ref.name) != ("Gateway", namespace, name):
                continue
            key = kind, where, entry.metadata.name
            if _allowed(gateway.spec.allowed_listeners.namespaces, namespace, where, objects):
                owners.append((key, entry.spec.listeners))
            else:
                offers.problems[key] = f"Gateway {namespace}/{name} does not allow ListenerSet"
        known: list[Listener] = []
        for key, specs in owners:
            mine: list[Offer] = []
            for spec in specs:
                listener = Listener(
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
                mine.append(Offer(listener, spec, key[1]))
                _note_conflict(listener, known)
                known.append(listener)
            offers.by_parent[key] = mine
        class_name = gateway.spec.gateway_class_name
        gateways[f"{namespace}/{name}"] = Gateway(namespace, name, class_name, known)
    return gateways, offers


def _sets(objects: Objects) -> Iterator[tuple[str, gw.ListenerSet]]:
    """ListenerSets by age, then by name; one under its old name counts as its new one."""
    merged = {**objects.x_listener_sets, **objects.listener_sets}

    def age(item: gw.ListenerSet) -> tuple[bool, str, str, str]:
        created = item.metadata.creation_timestamp
        return not created, created, *item.key

    for item in sorted(merged.values(), key=age):
        yield "ListenerSet", item


def _allowed(allowed: gw.ListenerNamespaces, mine: str, other: str, objects: Objects) -> bool:
    match allowed.from_:
        case "All":
            return True
        case "Same":
            return mine == other
        case "Selector":
            return allowed.selector.matches(objects.namespace_labels(other))
        case "None":
            return False


def _note_conflict(listener: Listener, known: list[Listener]) -> None:
    for other in known:
        if other.problem and other.set_id:
            continue
        problem = _conflict(listener, other)
        if problem:
            listener.problem = problem
            if not listener.set_id:
                other.problem = problem
            return


class HasPort(Protocol):
    """As much of a listener as decides what it can share."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def protocol(self) -> str: ...
    @property
    def hostname(self) -> str: ...


def conflicts(listeners: Sequence[HasPort]) -> dict[str, str]:
    """Names of the listeners of one Gateway that share what cannot be shared, and the reason.

    One of a ListenerSet has the set's name before its own and loses against what stands before it.
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
    """What two listeners of a Gateway cannot share, or ""."""
    if one.port != other.port or (one.protocol == "UDP") != (other.protocol == "UDP"):
        return ""
    if _GROUPS.get(one.protocol) != _GROUPS.get(other.protocol):
        return "ProtocolConflict"
    return "HostnameConflict" if one.hostname == other.hostname else ""
