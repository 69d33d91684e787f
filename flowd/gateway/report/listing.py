"""Text tables for a terminal: Gateways, routes, rules, problems, shares, explanations."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from flowd.gateway.attachment.listeners import conflicts
from flowd.gateway.matching.hostname import ANY, intersection
from flowd.gateway.report.explain import Explanation
from flowd.model.describe import (
    BackendDescription,
    ConditionDescription,
    Description,
    RouteDescription,
)
from flowd.text import printable

Rows: TypeAlias = list[list[str]]
SplitKey: TypeAlias = tuple[str, str, str, int, str, str, int]
"""Route kind, namespace and name, rule, Service namespace, name and port."""


def gateway_rows(description: Description) -> Rows:
    """One row for each listener, with the number of routes that it accepts."""
    attached: dict[tuple[str, str, str], set[tuple[str, str, str]]] = defaultdict(set)
    for route in description.routes:
        for parent in route.parents:
            if _verdict(parent.conditions, "Accepted").startswith("True"):
                listener = parent.gateway_namespace, parent.gateway, parent.listener
                attached[listener].add((route.kind, route.namespace, route.name))
    rows = [["GATEWAY", "CLASS", "LISTENER", "PORT", "PROTOCOL", "HOSTNAME", "ROUTES"]]
    for gateway in description.gateways:
        for entry in gateway.listeners:
            key = gateway.namespace, gateway.name, entry.name
            name = f"{gateway.namespace}/{gateway.name}"
            cells = [name, gateway.class_name, entry.name, str(entry.port), entry.protocol]
            rows.append([*cells, entry.hostname or "*", str(len(attached[key]))])
    return _safe(rows)


def route_rows(description: Description) -> Rows:
    """One row for each route and parent, with its Accepted and ResolvedRefs conditions."""
    rows = [["ROUTE", "HOSTNAMES", "PARENT", "ACCEPTED", "RESOLVEDREFS"]]
    for route in description.routes:
        hosts = ",".join(route.hostnames) or "*"
        for parent in route.parents:
            name = f"{parent.gateway_namespace}/{parent.gateway}"
            name += f"/{parent.listener}" if parent.listener else ""
            verdicts = [_verdict(parent.conditions, kind) for kind in ("Accepted", "ResolvedRefs")]
            rows.append([_name(route), hosts, name, *verdicts])
        if not route.parents:
            rows.append([_name(route), hosts, "-", "no Gateway among its parentRefs", "-"])
    return _safe(rows)


def rule_rows(description: Description) -> Rows:
    """One row for each backend; the first row of a rule has its matches and filters."""
    rows = [["ROUTE", "RULE", "MATCHES", "FILTERS", "BACKEND", "WEIGHT", "ENDPOINTS"]]
    for route in description.routes:
        for index, rule in enumerate(route.rules):
            label = f"{index} {rule.name}".strip()
            head = [_name(route), label, " | ".join(rule.matches), "; ".join(rule.filters)]
            lines = [
                [_with_tls(entry), str(entry.weight), _ready(entry)] for entry in rule.backends
            ]
            for line in lines or [["-", "-", "-"]]:
                rows.append([*head, *line])
                head = ["", "", "", ""]
    return _safe(rows)


def problem_rows(description: Description) -> Rows:
    """One row for each problem of a listener, route, backend or BackendTLSPolicy."""
    rows = [["WRONG", "WHAT"]]
    for gateway in description.gateways:
        for name, reason in conflicts(gateway.listeners).items():
            rows.append([f"{gateway.namespace}/{gateway.name}/{name}", f"{reason}: serves nothing"])
    for route in description.routes:
        verdicts = [_verdict(parent.conditions, "Accepted") for parent in route.parents]
        if not any(verdict.startswith("True") for verdict in verdicts):
            rows.append([_name(route), "attached to nothing: no request can reach it"])
        reached = _reached(description, route)
        rows += [
            [_name(route), f"hostname {name} is not reached through any of its listeners"]
            for name in route.hostnames
            if reached is not None and not any(intersection(name, host) for host in reached)
        ]
        for index, rule in enumerate(route.rules):
            for ref in rule.backends:
                target = f"rule {index} backend {_backend(ref)}"
                if ref.reason:
                    rows.append([_name(route), f"{target}: {ref.reason}"])
                elif ref.counted and not ref.ready_endpoints and ref.weight:
                    rows.append([_name(route), f"{target}: no ready endpoints"])
            if rule.backends and not any(ref.weight for ref in rule.backends):
                rows.append([_name(route), f"rule {index}: every weight is 0"])
    rows += [[entry.object, entry.what] for entry in description.problems]
    return _safe(rows)


def _reached(description: Description, route: RouteDescription) -> list[str] | None:
    """Hostnames of the listeners that accept a route; None when no listener accepts it."""
    accepted = {
        (parent.gateway_namespace, parent.gateway, parent.listener)
        for parent in route.parents
        if _verdict(parent.conditions, "Accepted").startswith("True")
    }
    hosts = [
        entry.hostname or ANY
        for gateway in description.gateways
        for entry in gateway.listeners
        if (gateway.namespace, gateway.name, entry.name) in accepted
    ]
    return hosts or None


def explanation_rows(found: Explanation) -> list[Rows]:
    """Tables of an explanation: result, backends, and each match or route considered."""
    outcome = found.outcome
    status = "" if outcome.status is None else str(outcome.status)
    target = (
        f"{outcome.gateway}/{outcome.listener}" if outcome.gateway else str(outcome.parent or "")
    )
    head = [["ACTION", "STATUS", "LISTENER", "REASON"]]
    head.append([outcome.action, status or "-", target or "-", outcome.reason or "-"])
    rows = [["ROUTE", "RULE", "MATCH", "VERDICT"]]
    for entry in found.considered:
        match = f".{entry.match}" if entry.match >= 0 else ""
        place = f"{entry.rule}{match}" if entry.rule >= 0 else "-"
        name = f"{entry.kind}/{entry.namespace}/{entry.name}"
        rows.append([name, place, entry.text or "-", entry.verdict])
    backends = [["BACKEND", "WEIGHT", "TLS", "REASON"]]
    for entry in outcome.backends:
        name = f"{entry.namespace}/{entry.name}:{entry.port}"
        tls, reason = found.tls.get(name, "-"), entry.reason or "-"
        backends.append([name, str(entry.weight), tls, reason])
    return [_safe(rows) for rows in (head, backends, rows) if len(rows) > 1]


@dataclass(frozen=True, slots=True)
class BackendShare:
    """Share of requests of one backend in its rule.

    Attributes:
        wanted: share by weight, from 0 to 1.
        requests: number of requests, None when unknown.
        seen: share by requests, from 0 to 1, None when unknown.
    """

    kind: str
    namespace: str
    route: str
    rule: int
    rule_name: str
    backend_namespace: str
    backend: str
    port: int
    weight: int
    wanted: float
    requests: int | None = None
    seen: float | None = None


def shares(description: Description, requests: Mapping[SplitKey, int] | None) -> list[BackendShare]:
    """Compute the share of every backend in its rule, by weight and by requests.

    Args:
        requests: number of requests by backend; None when no agent was queried.
    """
    found: list[BackendShare] = []
    for route in description.routes:
        for index, rule in enumerate(route.rules):
            base = route.kind, route.namespace, route.name, index
            refs = rule.backends
            weights = sum(ref.weight for ref in refs)
            counts = [(requests or {}).get((*base, *_point(ref)), 0) for ref in refs]
            for ref, count in zip(refs, counts, strict=True):
                wanted = ref.weight / weights if weights else 0.0
                share = BackendShare(*base, rule.name, *_point(ref), ref.weight, wanted)
                if requests is not None:
                    seen = count / sum(counts) if any(counts) else None
                    share = replace(share, requests=count, seen=seen)
                found.append(share)
    return found


def share_rows(found: list[BackendShare], asked: bool) -> Rows:
    """One row for each backend.

    Args:
        asked: whether an agent was queried, so that the columns for requests are included.
    """
    rows = [["ROUTE", "RULE", "BACKEND", "WEIGHT", "WANTED"]]
    rows[0] += ["REQUESTS", "SEEN"] if asked else []
    for share in found:
        row = [
            f"{share.kind}/{share.namespace}/{share.route}",
            f"{share.rule} {share.rule_name}".strip(),
            f"{share.backend_namespace}/{share.backend}" + (f":{share.port}" if share.port else ""),
            str(share.weight),
            f"{share.wanted:.1%}",
        ]
        if asked:
            row += [str(share.requests), "-" if share.seen is None else f"{share.seen:.1%}"]
        rows.append(row)
    return _safe(rows)


def _point(ref: BackendDescription) -> tuple[str, str, int]:
    return ref.namespace, ref.name, ref.port


def _name(route: RouteDescription) -> str:
    return f"{route.kind}/{route.namespace}/{route.name}"


def _backend(ref: BackendDescription) -> str:
    name = f"{ref.namespace}/{ref.name}" + (f":{ref.port}" if ref.port else "")
    return name if ref.kind == "Service" else f"{ref.kind} {name}"


def _with_tls(ref: BackendDescription) -> str:
    return _backend(ref) + (f" (TLS {ref.tls})" if ref.tls else "")


def _ready(ref: BackendDescription) -> str:
    if ref.reason:
        return ref.reason
    return f"{ref.ready_endpoints}/{ref.endpoints}" if ref.counted else "-"


def _verdict(conditions: Iterable[ConditionDescription], kind: str) -> str:
    for condition in conditions:
        if condition.type == kind:
            word = "True" if condition.status else f"False {condition.reason}"
            return word + (f" ({condition.message})" if condition.message else "")
    return "-"


def _safe(rows: Rows) -> Rows:
    return [[printable(cell, 200) for cell in row] for row in rows]
