"""Hostnames of listeners and routes (gateway-api, apis/v1/shared_types.go, Hostname).

`*.a.b` stands for any number of labels before `a.b` and not for `a.b` itself. No hostname at all
is written `*` here.
"""

from collections.abc import Iterator

ANY = "*"
MAX_LENGTH = 253


def without_port(host: str) -> str:
    """A Host header without its port; brackets of an IPv6 address stay."""
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def normal(host: str) -> str:
    """A Host header or SNI as it is compared: lower case, without port."""
    return without_port(host).lower()


def matching(host: str) -> Iterator[str]:
    """The hostnames that cover a normal host, most specific first."""
    if len(host) <= MAX_LENGTH:
        yield host
        at = host.find(".")
        while at >= 0:
            if at > 0:
                yield "*" + host[at:]
            at = host.find(".", at + 1)
    yield ANY


def covers(hostname: str, host: str) -> bool:
    """Whether a listener's or route's hostname covers a normal host."""
    if hostname == ANY:
        return True
    if hostname.startswith("*."):
        return host.endswith(hostname[1:]) and len(host) >= len(hostname)
    return hostname == host


def intersection(route: str, listener: str) -> str | None:
    """The narrower of two hostnames where they overlap, or None."""
    if route == ANY or listener == ANY:
        return listener if route == ANY else route
    if covers(listener, route):
        return route
    return listener if covers(route, listener) else None


def specificity(hostname: str) -> tuple[int, int]:
    """Sort key, greater is more specific: characters without a wildcard, then all characters."""
    return (0 if hostname.startswith("*") else len(hostname), len(hostname))
