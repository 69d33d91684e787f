"""The share of requests that a canary takes (rootfs/etc/nginx/lua/balancer.lua)."""

import re
from http.cookies import CookieError, SimpleCookie

from flowd.parity.nginx.annotations import Canary
from flowd.parity.outcome import ParityRequest


def canary_share(canary: Canary, request: ParityRequest) -> tuple[float, str]:
    """The share from 0 to 1, and the cause id of the rule that decided.

    Header before cookie before weight. A weight total below 100 counts as 100.
    """
    value = request.header(canary.header) if canary.header else None
    if value is not None:
        if canary.header_value:
            if value == canary.header_value:
                return 1.0, "canary-header"
        elif canary.header_pattern:
            if _search(canary.header_pattern, value):
                return 1.0, "canary-header-pattern"
        elif value in ("always", "never"):
            return float(value == "always"), "canary-header"
    if canary.cookie:
        cookie = _cookies(request).get(canary.cookie)
        if cookie in ("always", "never"):
            return float(cookie == "always"), "canary-cookie"
    total = max(canary.total, 100)
    return min(1.0, max(0.0, canary.weight / total)), "canary-weight-total"


def _search(expression: str, value: str) -> bool:
    try:
        return re.search(expression, value) is not None
    except re.error:
        return False


def _cookies(request: ParityRequest) -> dict[str, str]:
    try:
        parsed = SimpleCookie(request.header("cookie") or "")
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in parsed.items()}
