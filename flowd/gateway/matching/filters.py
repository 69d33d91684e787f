"""Gateway API filters: redirects, rewrites, header changes, CORS; rewrites reversed for logs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowd.gateway.matching.dialect import PREFIX, split_path
from flowd.gateway.matching.hostname import without_port
from flowd.gateway.matching.rules import Match
from flowd.kubernetes.objects import gateway_api as gw

_SCHEME_PORTS = {"http": 80, "https": 443}
_TYPES = frozenset(
    (
        "CORS",
        "ExternalAuth",
        "RequestHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "ResponseHeaderModifier",
        "URLRewrite",
    )
)


@dataclass(slots=True)
class RewrittenRequest:
    """A request after the filters of its rule; `path` includes the query."""

    host: str
    path: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    changed: bool = False


def redirect_of(filters: Sequence[gw.HTTPRouteFilter]) -> gw.HTTPRequestRedirectFilter | None:
    """The RequestRedirect filter of a rule, or None."""
    return next((entry.request_redirect for entry in filters if entry.request_redirect), None)


def redirect_location(
    redirect: gw.HTTPRequestRedirectFilter,
    match: Match,
    scheme: str,
    host: str,
    target: str,
    port: int,
) -> str:
    """The Location header of a redirect (gateway-api, HTTPRequestRedirectFilter).

    Args:
        scheme: scheme of the request.
        host: Host header of the request.
        target: path and query, normalized.
        port: port of the listener. The location has it only when the redirect sets neither scheme
            nor port; the default port of the scheme is omitted.
    """
    path, query = split_path(target)
    if redirect.path:
        path = _replaced(redirect.path, match, path)
    to = redirect.scheme or scheme
    number = redirect.port or (_SCHEME_PORTS.get(to, port) if redirect.scheme else port)
    name = redirect.hostname or without_port(host)
    authority = name if number == _SCHEME_PORTS.get(to) else f"{name}:{number}"
    return f"{to}://{authority}{path}{'?' + query if query else ''}"


def rewrite_request(
    filters: Sequence[gw.HTTPRouteFilter],
    match: Match,
    host: str,
    target: str,
    headers: Mapping[str, str],
) -> RewrittenRequest:
    """Apply URLRewrite and RequestHeaderModifier to a request; header names become lower case."""
    path, query = split_path(target)
    after = RewrittenRequest(host, path, {name.lower(): value for name, value in headers.items()})
    for entry in filters:
        if change := entry.url_rewrite:
            after.host = change.hostname or after.host
            after.path = _replaced(change.path, match, path) if change.path else after.path
            after.changed = True
        if modify := entry.request_header_modifier:
            _modify(after.headers, modify)
            after.changed = True
    after.path += f"?{query}" if query else ""
    return after


def _modify(headers: dict[str, str], modify: gw.HTTPHeaderFilter) -> None:
    for item in modify.set:
        headers[item.name.lower()] = item.value
    for item in modify.add:
        name = item.name.lower()
        headers[name] = f"{headers[name]},{item.value}" if name in headers else item.value
    for name in modify.remove:
        headers.pop(name.lower(), None)


def _replaced(change: gw.HTTPPathModifier, match: Match, path: str) -> str:
    if change.type == "ReplaceFullPath":
        return change.replace_full_path or "/"
    if match.path_type != PREFIX:
        return path
    rest = path[len(match.path) :]
    prefix = change.replace_prefix_match.rstrip("/")
    return prefix + rest or "/"


def rewrites_hostname(filters: Sequence[gw.HTTPRouteFilter]) -> bool:
    """Whether the filters rewrite the hostname."""
    return any(entry.url_rewrite and entry.url_rewrite.hostname for entry in filters)


def can_rewrite_to(filters: Sequence[gw.HTTPRouteFilter], host: str, path: str) -> bool:
    """Whether the URLRewrite filters can have produced a logged host and path."""
    for entry in filters:
        change = entry.url_rewrite
        if not change:
            continue
        if change.hostname and change.hostname.lower() != host:
            return False
        if not change.path:
            return True
        if change.path.type == "ReplaceFullPath":
            return path == (change.path.replace_full_path or "/")
        prefix = change.path.replace_prefix_match.rstrip("/")
        return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in "/"
    return False


def unsupported_filter(filters: Sequence[gw.HTTPRouteFilter], extensions: Sequence[str]) -> str:
    """Reason why a rule with these filters answers with an error, or "".

    An unknown filter must not be skipped (gateway-api, HTTPRouteFilter, ExtensionRef).

    Args:
        extensions: API groups of supported extension filters.
    """
    for entry in filters:
        ref = entry.extension_ref
        if entry.type == "ExtensionRef":
            if ref is None or ref.group not in extensions:
                return "unsupported_filter"
        elif entry.type not in _TYPES:
            return "unsupported_filter"
    return ""


def has_incompatible_filters(filters: Sequence[gw.HTTPRouteFilter]) -> bool:
    """Whether a rule has both RequestRedirect and URLRewrite, which exclude each other."""
    kinds = {entry.type for entry in filters}
    return {"RequestRedirect", "URLRewrite"} <= kinds


def answers_preflight(
    filters: Sequence[gw.HTTPRouteFilter], method: str, headers: Mapping[str, str]
) -> bool:
    """Whether the CORS filter of a rule answers a request itself (Fetch, section 3.2.2).

    The filter answers a preflight from an allowed origin; other requests go to the backend.
    """
    origin = headers.get("origin", "")
    if method != "OPTIONS" or not origin or "access-control-request-method" not in headers:
        return False
    return any(
        entry.cors is not None
        and any(allows_origin(allowed, origin) for allowed in entry.cors.allow_origins)
        for entry in filters
    )


def allows_origin(allowed: str, origin: str) -> bool:
    """Whether an origin matches an allowed one; its `*` stands for the first labels of the host."""
    allowed, origin = allowed.lower(), origin.lower()
    before, star, after = allowed.partition("*")
    if not star:
        return allowed == origin
    return (
        len(origin) >= len(before) + len(after)
        and origin.startswith(before)
        and origin.endswith(after)
    )


def filter_text(entry: gw.HTTPRouteFilter) -> str:
    """Describe a filter for people: `RequestRedirect 301`."""
    if redirect := entry.request_redirect:
        parts = [str(redirect.status_code), redirect.scheme, redirect.hostname]
        parts += [str(redirect.port or ""), _path(redirect.path)]
    elif change := entry.url_rewrite:
        parts = [change.hostname, _path(change.path)]
    elif modify := entry.request_header_modifier or entry.response_header_modifier:
        parts = [f"set {item.name}={item.value}" for item in modify.set]
        parts += [f"add {item.name}={item.value}" for item in modify.add]
        parts += [f"remove {name}" for name in modify.remove]
    elif mirror := entry.request_mirror:
        ref = mirror.backend_ref
        share = f"{mirror.percent}%" if mirror.percent is not None else ""
        parts = [f"{ref.name}:{ref.port}" if ref.port else ref.name]
        if mirror.fraction:
            share = f"{mirror.fraction.numerator}/{mirror.fraction.denominator}"
        parts.append(share)
    elif cors := entry.cors:
        parts = [",".join(cors.allow_origins), ",".join(cors.allow_methods)]
    elif extension := entry.extension_ref:
        parts = [f"{extension.kind}.{extension.group}/{extension.name}"]
    else:
        parts = []
    return " ".join(filter(None, [entry.type, *parts]))


def _path(change: gw.HTTPPathModifier | None) -> str:
    if not change:
        return ""
    return f"{change.type} {change.replace_full_path or change.replace_prefix_match}"


def policy_texts(timeouts: gw.HTTPRouteTimeouts, retry: gw.HTTPRouteRetry | None) -> list[str]:
    """Describe timeouts and retries of a rule for people."""
    times = (("request", timeouts.request), ("backend", timeouts.backend_request))
    texts = [f"Timeout {name}={value}" for name, value in times if value]
    if retry:
        attempts = str(retry.attempts) if retry.attempts is not None else ""
        codes = ",".join(map(str, retry.codes))
        texts.append(" ".join(filter(None, ["Retry", attempts, codes, retry.backoff])))
    return texts
