"""The after side: what Gateway API objects do with a request, as an outcome.

Runs the matcher of `flowd.gateway` with an implementation's dialect and adds what its proxy does
before and after matching: refused targets, headers, CORS and redirects.
"""

import re

from flowd.gateway.matching.dialect import DIALECTS, normalize_path, split_path
from flowd.gateway.matching.filters import allows_origin
from flowd.gateway.report.simulate import ForwardedRequest as Rewritten
from flowd.gateway.report.simulate import Request, RulePolicy, match_request
from flowd.gateway.report.simulate import SimulationResult as Answer
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects
from flowd.parity.outcome import Outcome, ParityRequest, Ready

UNREADY = "503"
"""Name of the share that no backend takes, as it has no endpoints."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")


class Gateways:
    """Gateway API objects under one dialect.

    Args:
        dialect: one of DIALECTS.
    """

    def __init__(
        self, objects: Objects, dialect: str, ready: Ready = lambda _backend: None
    ) -> None:
        self.dialect = dialect
        self._ready = ready
        self.empty = not objects.gateways
        self._objects = objects
        self._table = RouteTable.build(objects, dialect)
        self._tls = _tls_backends(objects)
        self._listeners = [
            (gateway_id, listener)
            for gateway_id, gateway in self._table.gateways.items()
            for listener in gateway.listeners
        ]

    def evaluate(self, request: ParityRequest) -> Outcome:
        """What the implementation does with a request."""
        if self.empty:
            return Outcome(status=None, notes=["conversion-failed"])
        tls = request.scheme == "https"
        if not any(
            listener.is_tls == tls and request.gateway in (None, gateway_id)
            for gateway_id, listener in self._listeners
        ):
            return Outcome(status=0, notes=["default-certificate" if tls else "catch-all"])
        if request.host is None:
            return Outcome(status=400, notes=["empty-host"])
        if "#" in request.path:
            return Outcome(status=400, notes=["fragment"])
        if "%00" in request.path:
            return Outcome(status=400, notes=["bad-escape"])
        asked = Request(
            gateway=request.gateway,
            host=request.host.lower(),
            path=_decoded(request.path),
            method=request.method,
            headers=request.headers,
            scheme=request.scheme,
        )
        return self._outcome(request, match_request(self._table, asked))

    def _outcome(self, request: ParityRequest, answer: Answer) -> Outcome:
        outcome = Outcome(status=answer.status or 200)
        if answer.route:
            route = answer.route
            outcome.rule = f"{route.namespace}/{route.name}/{route.rule}"
        outcome.location = answer.redirect if isinstance(answer.redirect, str) else ""
        if answer.reason:
            outcome.notes.append(answer.reason)
        self._cors(request, outcome, answer)
        if answer.action in ("redirect", "reject", "respond"):
            outcome.status = answer.status if answer.status is not None else 0
            return outcome
        if outcome.notes and outcome.notes[-1] == "cors_preflight":
            return outcome
        if self.dialect == "eg" and self._sets_host(answer):
            outcome.status = 500
            outcome.notes.append("upstream-vhost")
            return outcome
        weighted = [each for each in answer.backends if each.weight]
        total = sum(each.weight for each in weighted) or 1
        shares: dict[str, float] = {}
        for each in weighted:
            name = f"{each.namespace}/{each.name}:{each.port}"
            shares[name] = shares.get(name, 0) + each.weight / total
        for name in [name for name in shares if self._ready(name) is False]:
            shares[UNREADY] = shares.get(UNREADY, 0) + shares.pop(name)
        if shares.keys() == {UNREADY}:
            outcome.status = 503
            outcome.notes.append("missing-service")
            return outcome
        if len(shares) == 1:
            outcome.backend = next(iter(shares))
        else:
            outcome.shares = shares
        outcome.retries = isinstance(answer.policy, RulePolicy) and bool(
            answer.policy.retry_attempts
        )
        outcome.backend_tls = any(name in self._tls for name in shares)
        path, query = split_path(_decoded(request.path))
        path = normalize_path(path, DIALECTS[self.dialect])
        outcome.upstream_path = path + (f"?{query}" if query else "")
        if isinstance(answer.rewritten, Rewritten):
            outcome.upstream_path = answer.rewritten.path
            if answer.rewritten.host != (request.host or "").lower():
                outcome.upstream_host = answer.rewritten.host
        return outcome

    def _cors(self, request: ParityRequest, outcome: Outcome, answer: Answer) -> None:
        """Add the headers of the rule's CORS filter; Envoy answers every preflight of such a rule."""
        cors = self._filter(answer)
        origin = request.header("origin")
        if cors is None or origin is None:
            return
        preflight = request.method == "OPTIONS" and (
            request.header("access-control-request-method") is not None
        )
        allowed = any(allows_origin(each, origin) for each in cors.allow_origins)
        headers = outcome.response_headers
        if allowed:
            headers["access-control-allow-origin"] = origin
        if (allowed or preflight) and cors.allow_credentials:
            headers["access-control-allow-credentials"] = "true"
        if preflight:
            headers["access-control-allow-methods"] = ",".join(cors.allow_methods)
            headers["access-control-allow-headers"] = ",".join(cors.allow_headers)
            headers["access-control-max-age"] = str(cors.max_age)
            outcome.status = 200
            outcome.notes.append("cors_preflight")

    def _filters(self, answer: Answer) -> "tuple[gw.HTTPRouteFilter, ...]":
        """Filters of the HTTPRoute rule that took the request."""
        if answer.route is None:
            return ()
        route = self._objects.http_routes.get((answer.route.namespace, answer.route.name))
        rules = route.spec.rules if route else ()
        return rules[answer.route.rule].filters if answer.route.rule < len(rules) else ()

    def _filter(self, answer: Answer) -> gw.HTTPCORSFilter | None:
        return next((each.cors for each in self._filters(answer) if each.cors), None)

    def _sets_host(self, answer: Answer) -> bool:
        """Whether a header filter sets Host, which Envoy Gateway refuses."""
        return any(
            item.name.lower() == "host"
            for each in self._filters(answer)
            if each.request_header_modifier
            for item in (*each.request_header_modifier.set, *each.request_header_modifier.add)
        )


def _tls_backends(objects: Objects) -> frozenset[str]:
    """Backends `namespace/service:port` that a BackendTLSPolicy names; all ports of the Service."""
    named = {
        (namespace, ref.name)
        for (namespace, _), policy in objects.backend_tls_policies.items()
        for ref in policy.spec.target_refs
    }
    return frozenset(
        f"{namespace}/{name}:{port.port}"
        for (namespace, name), service in objects.services.items()
        if (namespace, name) in named
        for port in service.spec.ports
    )


def _decoded(target: str) -> str:
    """The target with unreserved characters decoded (RFC 3986, section 6.2.2.2), as Envoy does."""
    path, mark, rest = target.partition("?")
    return _ESCAPE.sub(_plain, path) + mark + rest


def _plain(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char.isascii() and (char.isalnum() or char in "-._~") else found[0]
