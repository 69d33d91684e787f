"""Apply ingress-nginx's effects to a request, in the order in which nginx applies them.

The order of a request: limits of the request line and headers, server, app-root, location, body size,
final slash, CORS, redirects of annotations, denied locations, redirect to https, endpoints, lists and
limits, authentication, backend. Source: nginx.tmpl and the Lua of controller-v1.15.1.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from flowd.parity.nginx.annotations import Annotations
from flowd.parity.nginx.canary import canary_share
from flowd.parity.nginx.locate import Found, find_location, find_server, server_name
from flowd.parity.nginx.servers import CATCH_ALL, Configuration, Location, NginxUpstream
from flowd.parity.nginx.uri import BadTarget, Target, encode_path, parse_target
from flowd.parity.outcome import Outcome, ParityRequest, Ready

BUFFER_BYTES = 8192
"""large_client_header_buffers 4 8k: one line must fit into one buffer."""

HSTS = "max-age=31536000; includeSubDomains"
CORS_METHODS = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
CORS_HEADERS = (
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,"
    "Authorization"
)
ACME = "/.well-known/acme-challenge"

_VALID_HEADER = re.compile(r"[A-Za-z0-9-]+")


@dataclass(slots=True)
class _State:
    """A request on its way."""

    configuration: Configuration
    request: ParityRequest
    target: Target
    host: str
    found: Found
    ready: Ready

    @property
    def scheme(self) -> str:
        """Scheme as nginx sees it: X-Forwarded-Proto where the ConfigMap trusts it."""
        forwarded = self.request.header("x-forwarded-proto")
        if self.configuration.settings.use_forwarded_headers and forwarded:
            return forwarded
        return self.request.scheme


def evaluate(configuration: Configuration, request: ParityRequest, ready: Ready) -> Outcome:
    """Simulate ingress-nginx on a request."""
    if configuration.refused:
        return Outcome(status=None, unknown=["nginx-config-error"])
    outcome = _evaluate(configuration, request, ready)
    if request.scheme == "https" and configuration.settings.hsts and outcome.status != 400:
        outcome.response_headers["strict-transport-security"] = HSTS
    return outcome


def _evaluate(configuration: Configuration, request: ParityRequest, ready: Ready) -> Outcome:
    if len(request.method) + len(request.path.encode()) + 11 > BUFFER_BYTES:
        return Outcome(status=414, notes=["uri-size"])
    if any(len(f"{name}: {value}") + 2 > BUFFER_BYTES for name, value in request.headers.items()):
        return Outcome(status=400, notes=["header-size"])
    if request.host is None:
        return Outcome(status=400, notes=["empty-host"])
    try:
        target = parse_target(request.path)
    except BadTarget as error:
        return Outcome(status=400, notes=[error.cause])
    host = server_name(request.host)
    server = find_server(configuration, host)
    if server.redirect_to:
        uri = request.path.removesuffix("/")
        port = 443 if request.scheme == "https" else 80
        to = f"{request.scheme}://{server.redirect_to}:{port}{uri}"
        return Outcome(status=308, location=to, rule=server.host, notes=["redirect-code"])
    state = _State(configuration, request, target, host, find_location(server, target), ready)
    return _server(state)


def _server(state: _State) -> Outcome:
    request, found = state.request, state.found
    root = next(
        (loc.annotations.app_root for loc in found.server.locations if loc.annotations.app_root), ""
    )
    if root and state.target.path == b"/":
        to = f"{request.scheme}://{request.host}{root}"
        return Outcome(
            status=302, location=to, rule=found.server.host, notes=["redirect-before-tls"]
        )
    if found.builtin:
        return Outcome(status=found.builtin, rule=found.server.host, notes=[found.cause])
    if found.unreadable:
        return Outcome(status=None, rule=found.server.host, unknown=["regex-unread"])
    if found.location is None:
        return Outcome(status=404, rule=found.server.host)
    location = found.location
    annotations = location.annotations
    limit = annotations.body_bytes
    limit = state.configuration.settings.body_bytes if limit is None else limit
    if limit and request.body_bytes > limit:
        return Outcome(status=413, rule=location.path, notes=["body-size"])
    if found.slash:
        query = f"?{state.target.query}" if state.target.query else ""
        to = f"{request.scheme}://{request.host}{location.path}{query}"
        return Outcome(
            status=301, location=to, rule=location.path, notes=["trailing-slash-redirect"]
        )
    return _location(state, location, annotations)


def _location(state: _State, location: Location, annotations: Annotations) -> Outcome:
    outcome = Outcome(rule=_text(location, state.found))
    if annotations.cors and _cors(outcome, annotations, state.request):
        return outcome
    outcome.unknown += annotations.unknown
    if annotations.snippets:
        outcome.unknown.append("snippet")
    redirect, code = annotations.temporal_redirect, annotations.temporal_code
    if not redirect:
        redirect, code = annotations.permanent_redirect, annotations.permanent_code
    if redirect:
        notes = ["redirect-query"] if state.target.query else []
        tls = state.scheme == "http" and _to_https(state, location, annotations)
        outcome.notes += ["redirect-before-tls", *notes] if tls else notes
        outcome.status, outcome.location = code, redirect
        return outcome
    if annotations.denied:
        outcome.status = 503
        outcome.notes.append(annotations.denied)
        return outcome
    if state.scheme == "http" and (cause := _to_https(state, location, annotations)):
        return _https(state, outcome, annotations, cause)
    if location.upstream is None:
        outcome.status = 404
        return outcome
    _guards(state, outcome, annotations)
    if outcome.status != 200:
        return outcome
    _forward(state, outcome, location, location.upstream)
    return outcome


def _text(location: Location, found: Found) -> str:
    """The location as the configuration writes it."""
    if found.server.regex:
        return f'~* "^{location.path}"'
    return f'= "{location.path}"' if location.path_type == "Exact" else f'"{location.path}"'


def _to_https(state: _State, location: Location, annotations: Annotations) -> str:
    """Cause id of the redirect to https of plain http; "" if there is none."""
    exempt = state.configuration.settings.no_tls_redirect
    if any(location.path.startswith(prefix) for prefix in exempt):
        return ""
    if annotations.force_ssl_redirect:
        return "force-ssl-redirect"
    if not annotations.ssl_redirect or state.found.server.host == CATCH_ALL:
        return ""
    if state.found.server.tls:
        return "tls-default-cert-redirect"
    wildcard = state.configuration.servers.get("*." + state.host.partition(".")[2])
    return "tls-wildcard-redirect" if wildcard and wildcard.tls else ""


def _https(state: _State, outcome: Outcome, annotations: Annotations, cause: str) -> Outcome:
    uri = state.request.path
    stripped = uri if annotations.preserve_trailing_slash else uri.removesuffix("/")
    outcome.status = state.configuration.settings.redirect_code
    outcome.location = f"https://{state.host}{stripped}"
    outcome.notes += ["ssl-redirect-slash"] if stripped != uri and stripped else []
    outcome.notes.append(cause)
    return outcome


def _cors(outcome: Outcome, annotations: Annotations, request: ParityRequest) -> bool:
    """Add CORS headers; True if nginx answers the request itself."""
    origin = request.header("origin") or ""
    if "*" not in annotations.cors_origins and not any(
        _origin(allowed, origin) for allowed in annotations.cors_origins
    ):
        return False
    allowed = "*" if "*" in annotations.cors_origins else origin
    raw = annotations.raw
    headers = outcome.response_headers
    headers["access-control-allow-origin"] = allowed
    headers["access-control-allow-methods"] = raw.get("cors-allow-methods", CORS_METHODS)
    headers["access-control-allow-headers"] = raw.get("cors-allow-headers", CORS_HEADERS)
    headers["access-control-max-age"] = raw.get("cors-max-age", "1728000")
    if raw.get("cors-allow-credentials", "true") != "false":
        headers["access-control-allow-credentials"] = "true"
    outcome.notes.append("cors")
    if request.method == "OPTIONS":
        outcome.status = 204
        return True
    return False


def _origin(allowed: str, origin: str) -> bool:
    expression = re.escape(allowed).replace(r"\*", "[A-Za-z0-9-]+")
    return re.fullmatch(expression, origin, re.IGNORECASE) is not None


def _guards(state: _State, outcome: Outcome, annotations: Annotations) -> None:
    """Lists, limits and authentication."""
    if annotations.allow_list or annotations.deny_list:
        outcome.unknown.append("ip-allowlist")
    if annotations.limits:
        outcome.notes.append("rate-limit")
    path = state.target.path.decode("utf-8", "replace")
    if not (annotations.auth_type or annotations.auth_url) or path.startswith(ACME):
        return
    outcome.notes.append("auth")
    if annotations.auth_type and state.request.header("authorization") is None:
        outcome.status = 401
        outcome.response_headers["www-authenticate"] = annotations.auth_type
    elif annotations.auth_type:
        outcome.request_headers["authorization"] = None
    elif state.request.header("authorization") is None and annotations.auth_signin:
        asked = f"{state.request.scheme}://{state.request.host}{quote(state.request.path, safe='')}"
        outcome.status, outcome.location = 302, f"{annotations.auth_signin}?rd={asked}"
    else:
        outcome.request_headers |= {name.lower(): "" for name in annotations.auth_headers}
        if not annotations.auth_headers:
            outcome.unknown.append("auth")


def _forward(state: _State, outcome: Outcome, location: Location, upstream: NginxUpstream) -> None:
    annotations = location.annotations
    _choose(state, outcome, upstream, annotations)
    if outcome.status != 200:
        return
    _path(state, outcome, location)
    outcome.upstream_host = annotations.upstream_host
    if annotations.upstream_host:
        outcome.notes.append("upstream-vhost")
    if annotations.affinity:
        outcome.response_headers["set-cookie"] = ""
        outcome.notes.append("session-affinity")
    for name in state.request.headers:
        if not _VALID_HEADER.fullmatch(name):
            outcome.request_headers[name.lower()] = None
            outcome.notes.append("header-underscore" if "_" in name else "header-name")
    for name in ("x-forwarded-for", "x-request-id"):
        if (
            state.request.header(name) is not None
            and not state.configuration.settings.use_forwarded_headers
        ):
            outcome.request_headers[name] = "" if name == "x-forwarded-for" else "kept"
            outcome.notes.append("forwarded-headers")
    outcome.backend_tls = annotations.backend_protocol in ("HTTPS", "GRPCS")
    if outcome.backend_tls:
        outcome.notes.append("backend-protocol")


def _choose(
    state: _State, outcome: Outcome, upstream: NginxUpstream, annotations: Annotations
) -> None:
    """Set the backend, or the shares of main and canary."""
    if state.ready(upstream.backend) is False:
        namespace = upstream.backend.partition("/")[0]
        if annotations.default_backend:
            outcome.backend = f"{namespace}/{annotations.default_backend}:80"
            outcome.notes.append("default-backend-annotation")
            return
        outcome.status = 503
        outcome.notes.append("main-no-endpoints" if upstream.canary else "missing-service")
        return
    share, cause = 0.0, ""
    if upstream.canary:
        share, cause = canary_share(upstream.canary, state.request)
        if share and state.ready(upstream.canary_backend) is False:
            share, cause = 0.0, "canary-no-endpoints"
        outcome.notes.append(cause)
    if 0 < share < 1:
        outcome.shares = {upstream.backend: 1 - share, upstream.canary_backend: share}
        return
    outcome.backend = upstream.canary_backend if share else upstream.backend


def _path(state: _State, outcome: Outcome, location: Location) -> None:
    """The target that the backend receives: as it was sent, or rewritten and encoded again."""
    raw = state.request.path
    if not location.rewrites:
        outcome.upstream_path = raw
        return
    path = state.target.path.decode("utf-8", "surrogateescape")
    try:
        found = re.search(location.path, path, re.IGNORECASE)
    except re.error:
        found = None
    if not found:
        outcome.upstream_path = raw
        return
    target = re.sub(
        r"\$(\d)",
        lambda group: (found[int(group[1])] or "") if int(group[1]) <= found.re.groups else "",
        location.annotations.rewrite_target,
    )
    query = f"?{state.target.query}" if state.target.query else ""
    outcome.upstream_path = encode_path(target.encode("utf-8", "surrogateescape")) + query
    outcome.notes.append(
        "rewrite-capture" if "$" in location.annotations.rewrite_target else "rewrite"
    )
