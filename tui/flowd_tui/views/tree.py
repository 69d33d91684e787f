"""Tree of the Gateways view: listeners, routes, rules and backends, each with its traffic."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flowd.wire.flowd import agent_pb2
from flowd_tui.data.store import Snapshot
from flowd_tui.data.traffic import Totals, TrafficKey, total
from flowd_tui.views.attach import AttachedListener, attached_listeners

Group = TypeVar("Group", bound=Hashable)
NodeKey = tuple[str | int, ...]
Subject = agent_pb2.Gateway | agent_pb2.Route | agent_pb2.Rule | agent_pb2.Backend
RouteIds = tuple[str, str, str, str]  # kind, namespace, name, reason of having no route


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One row of the tree.

    Attributes:
        key: identity of the row over time.
        kind: gateway, route, rule or backend; problem for a line of text under a route.
        totals, keys: traffic of the row and its children.
        state: ok; bad; warn if a row below is not ok; "" if unknown.
        unfolded: default state of folding.
        weight, seen: of a backend among others, its weight and its percentage of the requests.
        subject: the protobuf message of the object, if the agent knows it.
        path: names of gateway, listener, route, rule and backend, as far as this row has them.
    """

    key: NodeKey
    kind: str
    name: str
    totals: Totals
    keys: tuple[TrafficKey, ...] = ()
    children: tuple["TreeNode", ...] = ()
    state: str = ""
    match: str = ""
    type: str = ""
    unfolded: bool = False
    weight: int | None = None
    seen: float | None = None
    subject: Subject | None = None
    path: dict[str, str] = field(default_factory=dict[str, str])


def gateway_tree(snapshot: Snapshot) -> list[TreeNode]:
    """Roots of the tree: gateways by name, their listeners in the order of the object."""
    return [_gateway(snapshot, listener) for listener in attached_listeners(snapshot)]


def _gateway(snapshot: Snapshot, listener: AttachedListener) -> TreeNode:
    key = (listener.namespace, listener.gateway, listener.listener)
    path = {"gateway": listener.gateway_id, "listener": listener.listener}
    groups: dict[RouteIds, list[TrafficKey]] = defaultdict(list)
    for traffic in listener.traffic:
        reason = "" if traffic.kind else traffic.reason or "reason not known"
        groups[traffic.kind, traffic.namespace, traffic.name, reason].append(traffic)
    known = {(*ids, ""): route for ids, route in listener.routes.items()}
    ids = sorted({*groups, *known}, key=lambda ids: (not ids[0], ids[1:], ids[0]))
    children = tuple(
        _route(snapshot, (*key, *ids), ids, groups[ids], known.get(ids), listener, path)
        for ids in ids
    )
    name = listener.gateway_id or "(gateway not known)"
    if listener.listener:
        name += f"#{listener.listener}"
    elif listener.gateway:
        name += " (listener not known)" if listener.traffic else " (no listener)"
    return TreeNode(
        key,
        "gateway",
        name,
        _sum(snapshot, listener.traffic),
        tuple(listener.traffic),
        children,
        state="warn" if any(child.state in ("bad", "warn") for child in children) else "",
        match=listener.hostname,
        type=listener.port,
        unfolded=True,
        subject=listener.subject,
        path=path,
    )


def _route(
    snapshot: Snapshot,
    key: NodeKey,
    ids: RouteIds,
    keys: Sequence[TrafficKey],
    route: agent_pb2.Route | None,
    listener: AttachedListener,
    path: dict[str, str],
) -> TreeNode:
    kind, namespace, name, reason = ids
    totals = _sum(snapshot, keys)
    if not kind:
        return TreeNode(key, "route", f"(no route) {reason}", totals, tuple(keys), path=path)
    path = path | {"route": f"{kind}/{namespace}/{name}"}
    rules = _rules(snapshot, key, keys, route, path, namespace)
    single = len(rules) == 1
    conditions = listener.conditions(route) if route else []
    problems = tuple(
        TreeNode(
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
    return TreeNode(
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


def _route_match(route: agent_pb2.Route | None, rules: Sequence[TreeNode]) -> str:
    hosts = " ".join(route.hostnames) if route else ""
    return "  ".join(filter(None, (hosts, rules[0].match if len(rules) == 1 else "")))


def _rules(
    snapshot: Snapshot,
    key: NodeKey,
    keys: Sequence[TrafficKey],
    route: agent_pb2.Route | None,
    path: dict[str, str],
    namespace: str,
) -> list[TreeNode]:
    known = dict(enumerate(route.rules)) if route else {}
    only = len(known) == 1
    groups = _grouped(keys, lambda traffic: 0 if only and traffic.rule < 0 else traffic.rule)
    nodes: list[TreeNode] = []
    for index in sorted({*known, *groups}, key=lambda index: (index < 0, index)):
        rule, own = known.get(index), groups.get(index, [])
        children = tuple(_backends(snapshot, (*key, index), own, rule, path, namespace))
        match = "  ".join([" or ".join(rule.matches), *rule.filters]) if rule else ""
        nodes.append(
            TreeNode(
                (*key, index),
                "rule",
                f"rule {index}" if index >= 0 else "(rule not known)",
                _sum(snapshot, own),
                tuple(own),
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
    keys: Sequence[TrafficKey],
    rule: agent_pb2.Rule | None,
    path: dict[str, str],
    namespace: str,
) -> Iterable[TreeNode]:
    known = {(b.namespace, b.name, b.port): b for b in rule.backends} if rule else {}

    def backend_key(traffic: TrafficKey) -> tuple[str, str, int]:
        """Key of a request's backend; without a port the only configured backend of that name."""
        exact = (traffic.backend_namespace, traffic.backend, traffic.backend_port)
        alike = [found for found in known if found[:2] == exact[:2]]
        return alike[0] if exact not in known and not exact[2] and len(alike) == 1 else exact

    groups = _grouped(keys, backend_key)
    if not known and set(groups) <= {("", "", 0)}:
        return
    answered = sum(
        snapshot.totals[traffic].requests for found in known for traffic in groups.get(found, ())
    )
    for found in [*known, *sorted(set(groups) - set(known))]:
        backend, own = known.get(found), groups.get(found, [])
        totals = _sum(snapshot, own)
        split = backend is not None and len(known) > 1
        prefix = "" if found[0] in ("", namespace) else f"{found[0]}/"
        port = f":{found[2]}" if found[2] else ""
        full = f"{found[0]}/{found[1]}{port}"
        yield TreeNode(
            (*key, *found),
            "backend",
            f"{prefix}{found[1]}{port}" if found[1] else "(no backend)",
            totals,
            tuple(own),
            state="bad" if _takes_no_traffic(backend) else "",
            match=_readiness(backend),
            weight=backend.weight if backend and split else None,
            seen=100 * totals.requests / answered if split and answered else None,
            subject=backend,
            path=path
            | ({"rule": str(key[-1])} if key[-1] != -1 else {})
            | ({"backend": full} if found[1] else {}),
        )


def _health(backends: Sequence[TreeNode]) -> str:
    """State of a rule: bad if no backend can take traffic, warn if some cannot, else ""."""
    broken = sum(backend.state == "bad" for backend in backends)
    return "" if not broken else "bad" if broken == len(backends) else "warn"


def _takes_no_traffic(backend: agent_pb2.Backend | None) -> bool:
    if backend is None:
        return False
    return bool(backend.reason) or (backend.endpoints_known and not backend.ready_endpoints)


def _readiness(backend: agent_pb2.Backend | None) -> str:
    if backend is None:
        return ""
    ready = f"{backend.ready_endpoints}/{backend.endpoints} ready"
    return backend.reason or (ready if backend.endpoints_known else "")


def _grouped(
    keys: Iterable[TrafficKey], by: Callable[[TrafficKey], Group]
) -> dict[Group, list[TrafficKey]]:
    groups: dict[Group, list[TrafficKey]] = defaultdict(list)
    for key in keys:
        groups[by(key)].append(key)
    return dict(groups)


def _sum(snapshot: Snapshot, keys: Iterable[TrafficKey]) -> Totals:
    return total(snapshot.totals[key] for key in keys)
