"""Gateways, routes and backends as rows of text for a terminal."""

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


def gateway_rows(known: Description) -> Rows:
    """A row a listener, with the number of routes that it accepts."""
    attached: dict[tuple[str, str, str], set[tuple[str, str, str]]] = defaultdict(set)
    for route in known.routes:
        for parent in route.parents:
            if _verdict(parent.conditions, "Accepted").startswith("True"):
                listener = parent.gateway_namespace, parent.gateway, parent.listener
                attached[listener].add((route.kind, route.namespace, route.name))
    rows = [["GATEWAY", "CLASS", "LISTENER", "PORT", "PROTOCOL", "HOSTNAME", "ROUTES"]]
    for gateway in known.gateways:
        for entry in gateway.listeners:
            key = gateway.namespace, gateway.name, entry.name
            name = f"{gateway.namespace}/{gateway.name}"
            cells = [name, gateway.class_name, entry.name, str(entry.port), entry.protocol]
            rows.append([*cells, entry.hostname or "*", str(len(attached[key]))])
    return _safe(rows)


def route_rows(known: Description) -> Rows:
    """A row a route and parent: accepted or why not, references resolved or why not."""
    rows = [["ROUTE", "HOSTNAMES", "PARENT", "ACCEPTED", "RESOLVEDREFS"]]
    for route in known.routes:
        hosts = ",".join(route.hostnames) or "*"
        for parent in route.parents:
            name = f"{parent.gateway_namespace}/{parent.gateway}"
            name += f"/{parent.listener}" if parent.listener else ""
            verdicts = [_verdict(parent.conditions, kind) for kind in ("Accepted", "ResolvedRefs")]
            rows.append([_name(route), hosts, name, *verdicts])
        if not route.parents:
            rows.append([_name(route), hosts, "-", "no Gateway among its parentRefs", "-"])
    return _safe(rows)


def rule_rows(known: Description) -> Rows:
    """A row a backend; the rule's matches and filters stand in the first of its rows."""
    rows = [["ROUTE", "RULE", "MATCHES", "FILTERS", "BACKEND", "WEIGHT", "ENDPOINTS"]]
    for route in known.routes:
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


def problem_rows(known: Description) -> Rows:
    """A row for everything that is wrong: with a listener, a route or a backend."""
    rows = [["WRONG", "WHAT"]]
    for gateway in known.gateways:
        for name, reason in conflicts(gateway.listeners).items():
            rows.append([f"{gateway.namespace}/{gateway.name}/{name}", f"{reason}: serves nothing"])
    for route in known.routes:
        verdicts = [_verdict(parent.conditions, "Accepted") for parent in route.parents]
        if not any(verdict.startswith("True") for verdict in verdicts):
            rows.append([_name(route), "attached to nothing: no request can reach it"])
        reached = _reached(known, route)
        rows += [
            [_name(route), f"hostname {name} is not reached through any of its listeners"]
            for name in route.hostnames
            if reached is not None and not any(intersection(name, host) for host in reached)
        ]
        for index, rule in enumerate(route.rules):
            for ref in rule.backends:
                where = f"rule {index} backend {_backend(ref)}"
                if ref.reason:
                    rows.append([_name(route), f"{where}: {ref.reason}"])
                elif ref.counted and not ref.ready_endpoints and ref.weight:
                    rows.append([_name(route), f"{where}: no ready endpoints"])
            if rule.backends and not any(ref.weight for ref in rule.backends):
                rows.append([_name(route), f"rule {index}: every weight is 0"])
    rows += [[entry.object, entry.what] for entry in known.problems]
    return _safe(rows)


def _reached(known: Description, route: RouteDescription) -> list[str] | None:
    """Hostnames of the listeners that accept a route; None where it is not accepted by any."""
    accepted = {
        (parent.gateway_namespace, parent.gateway, parent.listener)
        for parent in route.parents
        if _verdict(parent.conditions, "Accepted").startswith("True")
    }
    hosts = [
        entry.hostname or ANY
        for gateway in known.gateways
        for entry in gateway.listeners
        if (gateway.namespace, gateway.name, entry.name) in accepted
    ]
    return hosts or None


def explanation_rows(found: Explanation) -> list[Rows]:
    """What happens to a request, its backends, and a row a match or route that was considered."""
    outcome = found.outcome
    status = "" if outcome.status is None else str(outcome.status)
    where = (
        f"{outcome.gateway}/{outcome.listener}" if outcome.gateway else str(outcome.parent or "")
    )
    head = [["ACTION", "STATUS", "LISTENER", "REASON"]]
    head.append([outcome.action, status or "-", where or "-", outcome.reason or "-"])
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
class Share:
    """What one backend of a rule should get, and what it got; `requests` is None if unknown."""

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


def shares(known: Description, requests: Mapping[SplitKey, int] | None) -> list[Share]:
    """The share of every backend in its rule, from 0 to 1, by weight and by requests.

    Args:
        requests: by backend; None when nobody was asked.
    """
    found: list[Share] = []
    for route in known.routes:
        for index, rule in enumerate(route.rules):
            base = route.kind, route.namespace, route.name, index
            refs = rule.backends
            weights = sum(ref.weight for ref in refs)
            counts = [(requests or {}).get((*base, *_point(ref)), 0) for ref in refs]
            for ref, count in zip(refs, counts, strict=True):
                wanted = ref.weight / weights if weights else 0.0
                share = Share(*base, rule.name, *_point(ref), ref.weight, wanted)
                if requests is not None:
                    seen = count / sum(counts) if any(counts) else None
                    share = replace(share, requests=count, seen=seen)
                found.append(share)
    return found


def share_rows(found: list[Share], asked: bool) -> Rows:
    """A row a backend; requests and their share only when an agent was asked for them."""
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
