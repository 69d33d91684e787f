"""Gateways, their listeners, routes, rules and backends as a tree, with the traffic of each."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flowd.wire.flowd import agent_pb2
from flowd_tui.data.store import Snapshot
from flowd_tui.data.traffic import Key, Totals, total
from flowd_tui.views.attach import Place, attached

Group = TypeVar("Group", bound=Hashable)
NodeKey = tuple[str | int, ...]
Subject = agent_pb2.Gateway | agent_pb2.Route | agent_pb2.Rule | agent_pb2.Backend
RouteIds = tuple[str, str, str, str]  # kind, namespace, name, reason


@dataclass(frozen=True, slots=True)
class Node:
    """One row of the tree.

    Attributes:
        kind: gateway, route, rule or backend; problem for a line of text under a route.
        keys: the traffic that belongs to it, including that of its children.
        state: ok; bad; warn when something below it is not ok; "" when nothing is known.
        unfolded: whether it is so unless someone folds it.
        weight: of a backend among others, with the share of requests that it got, in percent.
        path: gateway, listener, route, rule and backend, as far as this row has them.
    """

    key: NodeKey
    kind: str
    name: str
    totals: Totals
    keys: tuple[Key, ...] = ()
    children: tuple["Node", ...] = ()
    state: str = ""
    match: str = ""
    type: str = ""
    unfolded: bool = False
    weight: int | None = None
    seen: float | None = None
    subject: Subject | None = None
    path: dict[str, str] = field(default_factory=dict[str, str])


def gateways(snapshot: Snapshot) -> list[Node]:
    """The tree, in the order of names; listeners, rules and backends in that of the objects."""
    return [_gateway(snapshot, place) for place in attached(snapshot)]


def _gateway(snapshot: Snapshot, place: Place) -> Node:
    key = (place.namespace, place.gateway, place.listener)
    path = {"gateway": place.gateway_id, "listener": place.listener}
    groups: dict[RouteIds, list[Key]] = defaultdict(list)
    for traffic in place.traffic:
        reason = "" if traffic.kind else traffic.reason or "reason not known"
        groups[traffic.kind, traffic.namespace, traffic.name, reason].append(traffic)
    known = {(*ids, ""): route for ids, route in place.routes.items()}
    ids = sorted({*groups, *known}, key=lambda ids: (not ids[0], ids[1:], ids[0]))
    children = tuple(
        _route(snapshot, (*key, *ids), ids, groups[ids], known.get(ids), place, path) for ids in ids
    )
    name = place.gateway_id or "(gateway not known)"
    if place.listener:
        name += f"#{place.listener}"
    elif place.gateway:
        name += " (listener not known)" if place.traffic else " (no listener)"
    return Node(
        key,
        "gateway",
        name,
        _sum(snapshot, place.traffic),
        tuple(place.traffic),
        children,
        state="warn" if any(child.state in ("bad", "warn") for child in children) else "",
        match=place.hostname,
        type=place.port,
        unfolded=True,
        subject=place.subject,
        path=path,
    )


def _route(
    snapshot: Snapshot,
    key: NodeKey,
    ids: RouteIds,
    keys: Sequence[Key],
    route: agent_pb2.Route | None,
    place: Place,
    path: dict[str, str],
) -> Node:
    kind, namespace, name, reason = ids
    totals = _sum(snapshot, keys)
    if not kind:
        return Node(key, "route", f"(no route) {reason}", totals, tuple(keys), path=path)
    path = path | {"route": f"{kind}/{namespace}/{name}"}
    rules = _rules(snapshot, key, keys, route, path, namespace)
    single = len(rules) == 1
    conditions = place.conditions(route) if route else []
    problems = tuple(
        Node(
            (*key, "problem", condition.type),
            "problem",
            f"{condition.reason}: {condition.message}".rstrip(": "),
            Totals(),
            state="bad",
            path=path,
        )
        for condition in conditions
        if not condition.status
    )
    broken = any(rule.state for rule in rules)
    state = "bad" if problems else "warn" if broken else "ok" if conditions else ""
    return Node(
        key,
        "route",
        f"{namespace}/{name}",
        totals,
        tuple(keys),
        (*problems, *(rules[0].children if single else rules)),
        state=state,
        match=_route_match(route, rules),
        type=kind,
        unfolded=not single or len(rules[0].children) > 1,
        subject=route,
        path=path,
    )


def _route_match(route: agent_pb2.Route | None, rules: Sequence[Node]) -> str:
    hosts = " ".join(route.hostnames) if route else ""
    return "  ".join(filter(None, (hosts, rules[0].match if len(rules) == 1 else "")))


def _rules(
    snapshot: Snapshot,
    key: NodeKey,
    keys: Sequence[Key],
    route: agent_pb2.Route | None,
    path: dict[str, str],
    namespace: str,
) -> list[Node]:
    known = dict(enumerate(route.rules)) if route else {}
    only = len(known) == 1
    groups = _grouped(keys, lambda traffic: 0 if only and traffic.rule < 0 else traffic.rule)
    nodes: list[Node] = []
    for index in sorted({*known, *groups}, key=lambda index: (index < 0, index)):
        rule, mine = known.get(index), groups.get(index, [])
        children = tuple(_backends(snapshot, (*key, index), mine, rule, path, namespace))
        match = "  ".join([" or ".join(rule.matches), *rule.filters]) if rule else ""
        nodes.append(
            Node(
                (*key, index),
                "rule",
                f"rule {index}" if index >= 0 else "(rule not known)",
                _sum(snapshot, mine),
                tuple(mine),
                children,
                state=_health(children),
                match=match.strip(),
                type=children[0].name if len(children) == 1 else rule.name if rule else "",
                unfolded=len(children) > 1,
                subject=rule,
                path=path | ({"rule": str(index)} if index >= 0 else {}),
            )
        )
    return nodes


def _backends(
    snapshot: Snapshot,
    key: NodeKey,
    keys: Sequence[Key],
    rule: agent_pb2.Rule | None,
    path: dict[str, str],
    namespace: str,
) -> Iterable[Node]:
    known = {(b.namespace, b.name, b.port): b for b in rule.backends} if rule else {}

    def named(traffic: Key) -> tuple[str, str, int]:
        exact = (traffic.backend_namespace, traffic.backend, traffic.backend_port)
        alike = [found for found in known if found[:2] == exact[:2]]
        return alike[0] if exact not in known and not exact[2] and len(alike) == 1 else exact

    groups = _grouped(keys, named)
    if not known and set(groups) <= {("", "", 0)}:
        return
    answered = sum(
        snapshot.totals[traffic].requests for found in known for traffic in groups.get(found, ())
    )
    for found in [*known, *sorted(set(groups) - set(known))]:
        backend, mine = known.get(found), groups.get(found, [])
        totals = _sum(snapshot, mine)
        split = backend is not None and len(known) > 1
        where = "" if found[0] in ("", namespace) else f"{found[0]}/"
        port = f":{found[2]}" if found[2] else ""
        full = f"{found[0]}/{found[1]}{port}"
        yield Node(
            (*key, *found),
            "backend",
            f"{where}{found[1]}{port}" if found[1] else "(no backend)",
            totals,
            tuple(mine),
            state="bad" if _broken(backend) else "",
            match=_ready(backend),
            weight=backend.weight if backend and split else None,
            seen=100 * totals.requests / answered if split and answered else None,
            subject=backend,
            path=path
            | ({"rule": str(key[-1])} if key[-1] != -1 else {})
            | ({"backend": full} if found[1] else {}),
        )


def _health(backends: Sequence[Node]) -> str:
    """Of a rule: bad when none of its backends can take traffic, warn when some cannot."""
    broken = sum(backend.state == "bad" for backend in backends)
    return "" if not broken else "bad" if broken == len(backends) else "warn"


def _broken(backend: agent_pb2.Backend | None) -> bool:
    if backend is None:
        return False
    return bool(backend.reason) or (backend.endpoints_known and not backend.ready_endpoints)


def _ready(backend: agent_pb2.Backend | None) -> str:
    if backend is None:
        return ""
    ready = f"{backend.ready_endpoints}/{backend.endpoints} ready"
    return backend.reason or (ready if backend.endpoints_known else "")


def _grouped(keys: Iterable[Key], by: Callable[[Key], Group]) -> dict[Group, list[Key]]:
    groups: dict[Group, list[Key]] = defaultdict(list)
    for key in keys:
        groups[by(key)].append(key)
    return dict(groups)


def _sum(snapshot: Snapshot, keys: Iterable[Key]) -> Totals:
    return total(snapshot.totals[key] for key in keys)
