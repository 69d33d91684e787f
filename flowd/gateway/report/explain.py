"""Explain the routing of one request: every route considered, with the reason why it lost."""

from collections.abc import Iterator, Sequence

import msgspec

from flowd.gateway.attachment.listener import ListenerState
from flowd.gateway.matching.dialect import normalize_path, split_path
from flowd.gateway.matching.hostname import ANY, covers, normalize_host
from flowd.gateway.matching.rules import Match, Route
from flowd.gateway.matching.virtual_host import Candidate, QueryParams
from flowd.gateway.report.simulate import Request, SimulationResult, match_request
from flowd.gateway.table.backend_tls import BackendTls
from flowd.gateway.table.route_table import RouteTable
from flowd.model.route import BackendRef

_PATH = ("the kind of path", "the length of the path", "the length of the method")
_RANKS = (*_PATH, "a method", "the number of headers", "the number of query parameters")
_HEADER_RANKS = (*_PATH, "the number of headers", "the number of exact headers", _RANKS[-1])
_INGRESS_RANKS = ("the length of the path", "Exact")


class MatchVerdict(msgspec.Struct, frozen=True):
    """Verdict on a route or one match of it: `taken`, or the reason why it lost."""

    kind: str
    namespace: str
    name: str
    rule: int
    match: int
    text: str
    verdict: str


class Explanation(msgspec.Struct, frozen=True):
    """Result of a simulated request, and all routes considered for it, winner first.

    Attributes:
        tls: server name and BackendTLSPolicy by backend (`namespace/name:port`), for backends that
            the Gateway connects to by TLS.
    """

    outcome: SimulationResult
    considered: list[MatchVerdict]
    tls: dict[str, str]


def explain(table: RouteTable, request: Request) -> Explanation:
    """Match a request, and give the reason why each other match did not accept it.

    Routes whose parent is a Service are considered only when the request addresses a Service.
    """
    outcome = match_request(table, request)
    listeners = [
        listener
        for gateway_id, gateway in table.gateways.items()
        if gateway_id == outcome.gateway
        for listener in gateway.listeners
        if listener.name == outcome.listener and request.port in (None, listener.port)
    ]
    listener = listeners[0] if listeners else None
    found = sorted(
        (
            entry
            for route in table.routes.values()
            for entry in _verdicts_of_route(table, request, outcome, listener, route)
        ),
        key=lambda entry: (entry.verdict != "taken", entry.rule < 0, entry.verdict),
    )
    policies = BackendTls(table.objects)
    tls = {
        f"{entry.namespace}/{entry.name}:{entry.port}": policies.of(
            BackendRef("Service", entry.namespace, entry.name, entry.port),
            outcome.route.kind if outcome.route else "",
        )
        for entry in outcome.backends
    }
    return Explanation(outcome, found, {name: text for name, text in tls.items() if text})


def explain_json(table: RouteTable, request: bytes) -> bytes:
    """Explain a request given as JSON (Request); return an Explanation as JSON.

    Raises:
        ValueError: the JSON is not a valid Request.
    """
    decoded = msgspec.json.decode(request, type=Request)
    return msgspec.json.encode(explain(table, decoded))


def _verdicts_of_route(
    table: RouteTable,
    request: Request,
    outcome: SimulationResult,
    listener: ListenerState | None,
    route: Route,
) -> Iterator[MatchVerdict]:
    parents = table.parents[route.key]
    mesh = isinstance(outcome.parent, str)
    reason = ""
    if not any(condition.status for parent in parents for condition in parent.conditions[:1]):
        reasons = [
            f"{entry.reason}: {entry.message}"
            for parent in parents
            for entry in parent.conditions[:1]
        ]
        reason = "attached nowhere: " + ("; ".join(reasons) or "no parent of a known kind")
    elif mesh:
        names = [f"Service/{parent.gateway_namespace}/{parent.gateway}" for parent in parents]
        if str(outcome.parent).rpartition(":")[0] not in names:
            reason = f"not attached to {outcome.parent}"
    elif listener is None:
        reason = outcome.reason or "no listener takes the request"
    elif route.key not in listener.attached:
        reason = f"not attached to listener {listener.name} of {listener.gateway_id}"
    elif listener.is_http:
        reason = _host(listener, route, normalize_host(request.host or ""))
    elif not any(covers(name, request.server_name) for name in route.hostnames):
        reason = f"no hostname covers server name {request.server_name or '(none)'}"
    if reason:
        yield MatchVerdict(*route.key, -1, -1, "", reason)
        return
    vhost = (
        listener.vhost(normalize_host(request.host or ""))
        if listener and listener.one_label
        else None
    )
    for rule in route.rules:
        for match in rule.matches:
            candidate = Candidate(route, rule, match)
            verdict = _verdict(table, request, outcome, candidate)
            if vhost and not any(
                (entry.route.key, entry.match) == (route.key, match) for entry in vhost.candidates
            ):
                verdict = f"its host is not {vhost.hostname}, which takes the request"
            yield MatchVerdict(*route.key, rule.index, match.index, match.text, verdict)
    for index, reason in route.invalid_rules:
        yield MatchVerdict(*route.key, index, -1, "", f"left out: {reason}")


def _host(listener: ListenerState, route: Route, host: str) -> str:
    vhost = listener.vhost(host)
    if listener.one_label:
        return ""
    if not any(covers(name, host) for name in route.hostnames):
        return f"no hostname covers {host or 'a request without host'}"
    if vhost and not any(entry.route.key == route.key for entry in vhost.candidates):
        name = vhost.hostname if vhost.hostname != ANY else "any host"
        return f"hostname {name} of another route is more specific"
    return ""


def _verdict(
    table: RouteTable, request: Request, outcome: SimulationResult, candidate: Candidate
) -> str:
    route, rule, match = candidate
    winner = outcome.route
    if winner and (winner.kind, winner.namespace, winner.name, winner.rule, winner.match) == (
        *route.key,
        rule.index,
        match.index,
    ):
        return "taken"
    if isinstance(outcome.merged, list) and (*route.key, rule.index, match.index) in [
        (entry.kind, entry.namespace, entry.name, entry.rule, entry.match)
        for entry in outcome.merged
    ]:
        return "merged with the match that takes it"
    if request.is_http and (unmet := _unmet_condition(table, request, match)):
        return unmet
    if winner is None:
        return outcome.reason
    best = table.routes[winner.kind, winner.namespace, winner.name]
    taken = next(
        entry
        for part in best.rules
        if part.index == winner.rule
        for entry in part.matches
        if entry.index == winner.match
    )
    names = _HEADER_RANKS if table.dialect.method_is_header else _RANKS
    names = _INGRESS_RANKS if route.kind == "Ingress" else names
    return _deciding_criterion(candidate, Candidate(best, rule, taken), winner.rule, names)


def _unmet_condition(table: RouteTable, request: Request, match: Match) -> str:
    """The first condition of a match that a request does not meet, or ""."""
    path, query = split_path(request.path or "/")
    path = normalize_path(path, table.dialect)
    method = request.method or "GET"
    headers = {name.lower(): value for name, value in (request.headers or {}).items()}
    if not match.matches_path(path):
        return f"path {path} does not fit {match.path_type} {match.path or '/'}"
    if match.method not in ("", method):
        return f"method {method} is not {match.method}"
    for label, tests, values in (
        ("header", match.headers, headers),
        ("query parameter", match.query, QueryParams(query)),
    ):
        for test in tests:
            value = values.get(test.name)
            if value is None:
                return f"{label} {test.name} is not there"
            if not test.predicate(value):
                return f"{label} {test} does not fit {value}"
    return ""


def _deciding_criterion(
    loser: Candidate, winner: Candidate, rule: int, names: Sequence[str]
) -> str:
    """The criterion that decides between two matches that both accept the request."""
    for name, loser_rank, winner_rank in zip(
        names, loser.match.rank, winner.match.rank, strict=False
    ):
        if loser_rank != winner_rank:
            return f"fits, but {name} decides for {winner.match.text or 'default'}"
    if loser.route.key != winner.route.key:
        if loser.route.created != winner.route.created:
            return f"fits, but {winner.route.kind} {winner.route.name} is older"
        return f"fits, but {winner.route.kind} {winner.route.name} comes first by name"
    return f"fits, but rule {rule} of the route comes first"
