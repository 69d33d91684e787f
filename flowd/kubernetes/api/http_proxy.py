"""Through which HTTP proxy an API server is reached."""

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies_environment


def proxy_for(server: str, given: str = "") -> str:
    """URL of the proxy for a server's URL, "" for none.

    As kubectl does it: `proxy-url` of the kubeconfig, else HTTPS_PROXY or HTTP_PROXY, unless
    NO_PROXY names the host or a network that it is in; never for this machine itself.

    Raises:
        ValueError: it is no URL of an HTTP proxy.
    """
    proxy = given or _of_environment(server)
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
    """Whether an entry of NO_PROXY means a host: `*`, a domain, an address or a network."""
    if name == "*" or f".{host}".endswith(f".{name.lstrip('.')}"):
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    return False
