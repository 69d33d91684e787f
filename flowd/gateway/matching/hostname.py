"""Hostnames of listeners and routes (gateway-api, apis/v1/shared_types.go, Hostname).

`*.a.b` stands for one or more labels before `a.b`, so not for `a.b` itself. `*` (ANY) stands for a
missing hostname.
"""

from collections.abc import Iterator

ANY = "*"
MAX_LENGTH = 253


def without_port(host: str) -> str:
    """Remove the port from a Host header; brackets of an IPv6 address stay."""
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def normalize_host(host: str) -> str:
    """Normalize a Host header or SNI for comparison: lower case, without port."""
    return without_port(host).lower()


def covering_hostnames(host: str) -> Iterator[str]:
    """Yield the hostnames that cover a normalized host, most specific first."""
    if len(host) <= MAX_LENGTH:
        yield host
        at = host.find(".")
        while at >= 0:
            if at > 0:
                yield "*" + host[at:]
            at = host.find(".", at + 1)
    yield ANY


def covers(hostname: str, host: str) -> bool:
    """Whether the hostname of a listener or route covers a normalized host."""
    if hostname == ANY:
        return True
    if hostname.startswith("*."):
        return host.endswith(hostname[1:]) and len(host) >= len(hostname)
    return hostname == host


def intersection(route: str, listener: str) -> str | None:
    """The more specific of two overlapping hostnames, or None without overlap."""
    if route == ANY or listener == ANY:
        return listener if route == ANY else route
    if covers(listener, route):
        return route
    return listener if covers(route, listener) else None


def specificity(hostname: str) -> tuple[int, int]:
    """Sort key, greater is more specific: characters without a wildcard, then all characters."""
    return (0 if hostname.startswith("*") else len(hostname), len(hostname))
