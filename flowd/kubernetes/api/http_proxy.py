"""Select the HTTP proxy for an API server: kubeconfig, HTTPS_PROXY, HTTP_PROXY, NO_PROXY."""

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies_environment


def proxy_for(server: str, configured: str = "") -> str:
    """URL of the proxy for the URL of a server, "" for none.

    Like kubectl: `proxy-url` of the kubeconfig, else HTTPS_PROXY or HTTP_PROXY, unless NO_PROXY
    contains the host or its network; never for this machine itself.

    Args:
        configured: `proxy-url` of the kubeconfig, or "".

    Raises:
        ValueError: the URL is not that of an HTTP proxy.
    """
    proxy = configured or _of_environment(server)
    if proxy and urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError(f"proxy {proxy!r} is not one that speaks HTTP")
    return proxy


def _of_environment(server: str) -> str:
    parts = urlsplit(server)
    host, proxies = (parts.hostname or "").lower(), getproxies_environment()
    names = [name.strip().lower() for name in proxies.get("no", "").split(",")]
    if host == "localhost" or any(name and _is_in(host, name) for name in names):
        return ""
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return ""
    return proxies.get(parts.scheme, "")


def _is_in(host: str, name: str) -> bool:
    """Whether a NO_PROXY entry (`*`, a domain, an address or a network) covers a host."""
    if name == "*" or f".{host}".endswith(f".{name.lstrip('.')}"):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    return False
