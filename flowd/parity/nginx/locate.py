"""Find the server and the location of a request, as nginx does (ngx_http_core_module.c)."""

import re
from dataclasses import dataclass
from functools import lru_cache

from flowd.gateway.matching.hostname import normalize_host
from flowd.parity.nginx.servers import CATCH_ALL, EXACT, Configuration, Location, NginxServer
from flowd.parity.nginx.uri import BadTarget, Target, parse_target
from flowd.parity.outcome import ParityRequest

_LABEL = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """The location of a request.

    Attributes:
        location: None where the server answers by itself.
        slash: nginx redirects to the path with a final slash.
        builtin: answer of a location that the controller adds to `_`: a status, else 0.
        cause: cause id of a builtin answer.
        unreadable: an expression that comes before any match cannot be evaluated here.
    """

    server: NginxServer
    location: Location | None
    slash: bool = False
    builtin: int = 0
    cause: str = ""
    unreadable: bool = False


def find_server(configuration: Configuration, host: str) -> NginxServer:
    """The server of a host without port and final dot: exact, one-label wildcard, or `_`."""
    named = configuration.named
    if host in named and not host.startswith("*."):
        return named[host]
    label, dot, rest = host.partition(".")
    if dot and _LABEL.fullmatch(label) and f"*.{rest}" in named:
        return named[f"*.{rest}"]
    return configuration.servers[CATCH_ALL]


def find_location(server: NginxServer, target: Target) -> Found:
    """The location of a normalised path.

    Exact locations win over the longest prefix; on a host with regular expressions the first
    expression in the order of the configuration wins.
    """
    if server.host == CATCH_ALL:
        if target.path.startswith(b"/healthz"):
            return Found(server, None, builtin=200, cause="controller-healthz")
        if target.path.startswith(b"/nginx_status"):
            return Found(server, None, builtin=403, cause="controller-status")
    path = target.path.decode("utf-8", "surrogateescape")
    if server.regex:
        for location in server.locations:
            expression = pattern(location.path)
            if expression is None:
                return Found(server, location, unreadable=True)
            if expression.search(path):
                return Found(server, location)
        return Found(server, None)
    best: Location | None = None
    for location in server.locations:
        if location.path_type == EXACT:
            if location.path == path:
                return Found(server, location)
        elif path.startswith(location.path) and len(location.path) > len(best.path if best else ""):
            best = location
    for location in server.locations:
        if location.path == path + "/":
            return Found(server, location, slash=True)
    return Found(server, best)


@lru_cache(maxsize=4096)
def pattern(path: str) -> re.Pattern[str] | None:
    """The regular expression `~* "^<path>"` of a location; None where `re` differs from PCRE.

    Both agree on classes, groups, lookarounds and alternation; POSIX classes are PCRE's alone.
    """
    if "[[:" in path:
        return None
    try:
        return re.compile("^" + path, re.IGNORECASE)
    except re.error:
        return None


def location_of(configuration: Configuration, request: ParityRequest) -> Location | None:
    """The location of a request; None where no location takes it."""
    if request.host is None:
        return None
    server = find_server(configuration, server_name(request.host))
    try:
        target = parse_target(request.path)
    except BadTarget:
        return None
    return None if server.redirect_to else find_location(server, target).location


def server_name(host: str) -> str:
    """A Host header without port and final dot, in lower case."""
    return normalize_host(host).removesuffix(".")
