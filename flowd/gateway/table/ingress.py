"""Convert Ingress objects (networking.k8s.io/v1) to routes of their IngressClass."""

from collections.abc import Iterator
from dataclasses import replace

from flowd.gateway.attachment.listener import ListenerState
from flowd.gateway.attachment.listeners import GatewayState
from flowd.gateway.attachment.parent_ref import Condition, ParentStatus, resolved_refs
from flowd.gateway.matching.dialect import EXACT, PREFIX
from flowd.gateway.matching.hostname import ANY, covers
from flowd.gateway.matching.rules import Backend, Match, Route, Rule
from flowd.gateway.table.routes import RouteBuilder
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.ingress import Ingress, IngressBackend
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.route import BackendRef

INGRESS_CLASS = "IngressClass"
"""Namespace of the pseudo Gateway that represents an IngressClass."""


class IngressRoutes:
    """Every Ingress as a route, attached to an HTTP and an HTTPS listener of its class.

    Each path becomes a rule: the rule index is that of the Ingress rule, the match index that of
    the path; the default backend has the index after the last rule.

    Args:
        number: number of the first listener to create.

    Attributes:
        gateways: pseudo Gateways by `IngressClass/<name>`.
        parents: parent status of each Ingress, by route key.
        pairs: (number of the listener, route with the rules of one hostname, hostname).
    """

    def __init__(self, objects: Objects, builder: RouteBuilder, number: int) -> None:
        self.gateways: dict[str, GatewayState] = {}
        self.routes: list[Route] = []
        self.parents: dict[tuple[str, str, str], list[ParentStatus]] = {}
        self.pairs: list[tuple[int, Route, str]] = []
        self._objects = objects
        self._builder = builder
        self._number = number
        defaults = [item for item in objects.ingress_classes.values() if item.is_default]
        self._default = defaults[0].metadata.name if len(defaults) == 1 else ""
        served: dict[str, list[tuple[Ingress, Route, list[str]]]] = {}
        for item in objects.ingresses.values():
            name = item.class_name or self._default
            route, hosts = self._route(item)
            self.routes.append(route)
            reason, message = self._verdict(item, name)
            self.parents[route.key] = [_parent(route, name, reason, message)]
            if reason == "Accepted":
                served.setdefault(name, []).append((item, route, hosts))
        for name, entries in sorted(served.items()):
            self._serve(name, entries)

    def _verdict(self, item: Ingress, name: str) -> tuple[str, str]:
        if not name:
            return "NoMatchingParent", "no class is named, and there is not one default class"
        if self._objects.ingress_classes and ("", name) not in self._objects.ingress_classes:
            return "NoMatchingParent", f"IngressClass {name} is not there"
        if not item.spec.default_backend and not any(rule.http for rule in item.spec.rules):
            return "UnsupportedValue", "neither rules nor a default backend"
        return "Accepted", ""

    def _serve(self, name: str, entries: list[tuple[Ingress, Route, list[str]]]) -> None:
        listeners: list[ListenerState] = []
        for protocol, port in (("HTTP", 80), ("HTTPS", 443)):
            chosen = [entry for entry in entries if protocol == "HTTP" or entry[0].spec.tls]
            if not chosen:
                continue
            listener = ListenerState(
                INGRESS_CLASS,
                name,
                protocol.lower(),
                port,
                protocol,
                ANY,
                self._number,
                one_label=True,
            )
            self._number += 1
            listeners.append(listener)
            every = {host for _, _, hosts in chosen for host in hosts} | {ANY}
            for item, route, hosts in chosen:
                self._pair(listener, item, route, hosts, every)
        self.gateways[f"{INGRESS_CLASS}/{name}"] = GatewayState(
            INGRESS_CLASS, name, name, listeners
        )

    def _pair(
        self,
        listener: ListenerState,
        item: Ingress,
        route: Route,
        hosts: list[str],
        every: set[str],
    ) -> None:
        """Pair a listener with the rules of each hostname, each including the default backend."""
        last = len(item.spec.rules)
        secure = [host.lower() for part in item.spec.tls for host in part.hosts]
        defaults = [rule for rule in route.rules if rule.index == last]
        for host in sorted(every):
            if listener.is_tls and secure and not any(covers(name, host) for name in secure):
                continue
            own = [rule for rule in route.rules if rule.index < last and hosts[rule.index] == host]
            if own or defaults:
                part = replace(route, rules=(*own, *defaults))
                self.pairs.append((listener.number, part, host))

    def _route(self, item: Ingress) -> tuple[Route, list[str]]:
        """Convert an Ingress to a route; also return the hostname of each Ingress rule."""
        rules: list[Rule] = []
        hosts = [rule.host.lower() or ANY for rule in item.spec.rules]
        for index, rule in enumerate(item.spec.rules):
            for number, path in enumerate(rule.http.paths if rule.http else ()):
                exact = path.path_type == "Exact"
                text = path.path if exact else path.path.rstrip("/")
                match = Match(
                    number,
                    EXACT if exact else PREFIX,
                    text,
                    "",
                    (),
                    (),
                    None,
                    f"{rule.host} {path.path_type} {path.path}".strip(),
                    (len(text), exact),
                )
                rules.append(self._rule(item, index, match, path.backend))
        if item.spec.default_backend:
            match = Match(0, PREFIX, "", "", (), (), None, "default backend", (-1, 0))
            rules.append(self._rule(item, len(hosts), match, item.spec.default_backend))
        names = tuple(dict.fromkeys(hosts)) or (ANY,)
        namespace, name = item.key
        created = item.metadata.creation_timestamp
        return Route("Ingress", namespace, name, created, names, tuple(rules)), hosts

    def _rule(self, item: Ingress, index: int, match: Match, backend: IngressBackend) -> Rule:
        return Rule(index, "", (match,), (), (self._backend(item, backend),))

    def _backend(self, item: Ingress, backend: IngressBackend) -> Backend:
        namespace = item.metadata.namespace
        if backend.service is None:
            kind = backend.resource.kind if backend.resource else ""
            name = backend.resource.name if backend.resource else ""
            return Backend(BackendRef(kind, namespace, name), "InvalidKind")
        name, port = backend.service.name, backend.service.port
        number = port.number or next(_named(self._objects, namespace, name, port.name), 0)
        ref = gw.BackendRef(name=name, port=number or None)
        built = self._builder.backend("Ingress", namespace, ref)
        if not number and not built.reason and self._objects.services:
            return replace(built, reason="BackendNotFound")
        return built


def _named(objects: Objects, namespace: str, name: str, port: str) -> Iterator[int]:
    service = objects.services.get((namespace, name))
    for entry in service.spec.ports if service else ():
        if entry.name == port:
            yield entry.port


def _parent(route: Route, name: str, reason: str, message: str) -> ParentStatus:
    accepted = Condition("Accepted", reason == "Accepted", reason, message)
    return ParentStatus(
        INGRESS_CLASS, name, "", (), (accepted, resolved_refs(route)), INGRESS_CLASS
    )
