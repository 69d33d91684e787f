"""What a rule's filters do to a request, and back from what was logged after they did it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowd.gateway.dialect import PREFIX, split_path
from flowd.gateway.hostname import without_port
from flowd.gateway.rules import Match
from flowd.kubernetes import gatewayapi as gw

_SCHEME_PORTS = {"http": 80, "https": 443}


@dataclass(slots=True)
class Rewritten:
    """A request as the backend gets it."""

    host: str
    path: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    changed: bool = False


def redirect_of(filters: Sequence[gw.Filter]) -> gw.Redirect | None:
    """The redirect that answers a rule's requests, if it has one."""
    return next((entry.request_redirect for entry in filters if entry.request_redirect), None)


def location(
    redirect: gw.Redirect, match: Match, scheme: str, host: str, target: str, port: int
) -> str:
    """The Location header of a redirect (gateway-api, HTTPRequestRedirectFilter).

    Args:
        host: Host header as it came.
        target: path and query, normalized.
        port: of the listener; it stays only where neither scheme nor port of the redirect say
            otherwise, and is left out where it is the scheme's own.
    """
    path, query = split_path(target)
    if redirect.path:
        path = _replaced(redirect.path, match, path)
    to = redirect.scheme or scheme
    number = redirect.port or (_SCHEME_PORTS.get(to, port) if redirect.scheme else port)
    name = redirect.hostname or without_port(host)
    authority = name if number == _SCHEME_PORTS.get(to) else f"{name}:{number}"
    return f"{to}://{authority}{path}{'?' + query if query else ''}"


def rewrite(
    filters: Sequence[gw.Filter], match: Match, host: str, target: str, headers: Mapping[str, str]
) -> Rewritten:
    """The request after URLRewrite and RequestHeaderModifier; header names in lower case."""
    path, query = split_path(target)
    after = Rewritten(host, path, {name.lower(): value for name, value in headers.items()})
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


def _modify(headers: dict[str, str], modify: gw.HeaderModifier) -> None:
    for item in modify.set:
        headers[item.name.lower()] = item.value
    for item in modify.add:
        name = item.name.lower()
        headers[name] = f"{headers[name]},{item.value}" if name in headers else item.value
    for name in modify.remove:
        headers.pop(name.lower(), None)


def _replaced(change: gw.PathModifier, match: Match, path: str) -> str:
    if change.type == "ReplaceFullPath":
        return change.replace_full_path or "/"
    if match.path_type != PREFIX:
        return path
    rest = path[len(match.path) :]
    prefix = change.replace_prefix_match.rstrip("/")
    return prefix + rest or "/"


def renames(filters: Sequence[gw.Filter]) -> bool:
    """Whether a rule gives requests another host."""
    return any(entry.url_rewrite and entry.url_rewrite.hostname for entry in filters)


def can_produce(filters: Sequence[gw.Filter], host: str, path: str) -> bool:
    """Whether a rule's URLRewrite can have made this host and path, as they were logged."""
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


def filter_text(entry: gw.Filter) -> str:
    """A filter as a person reads it: `RequestRedirect 301`."""
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
        parts = [f"{ref.name}:{ref.port}" if ref.port else ref.name, share]
    else:
        parts = []
    return " ".join(filter(None, [entry.type, *parts]))


def _path(change: gw.PathModifier | None) -> str:
    if not change:
        return ""
    return f"{change.type} {change.replace_full_path or change.replace_prefix_match}"
