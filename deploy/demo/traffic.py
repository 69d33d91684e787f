"""What the demo's clients send, and what must become of each request: the truth for tests.

Written by hand from `manifests/`, so that it also checks the translation into Envoy's terms.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from demo.backend import flaky_status


@dataclass(frozen=True, slots=True)
class Route:
    """The route that must take a request; rule and match are -1 for TLSRoutes."""

    kind: str
    namespace: str
    name: str
    rule: int
    match: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        name: how tests and summaries call it.
        share: how many of each DECK requests are of this kind.
        listener: http, https or tls.
        host, path, method, headers, body: what is sent; host is also the SNI.
        route: None when no route takes it.
        backends: (namespace, name) of each Service that may get it; () when none is tried.
        by_gateway: the answer is the gateway's own, because there is no backend or it failed.
        status: expected status; 0 when the connection is closed without an answer.
    """

    name: str
    share: int
    listener: str
    host: str
    path: str
    route: Route | None
    backends: tuple[tuple[str, str], ...] = ()
    status: int = 200
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: int = 0
    by_gateway: bool = False
    status_of: Callable[[int], int] | None = None

    def expected_status(self, seq: int) -> int:
        return self.status_of(seq) if self.status_of else self.status


def _http(name: str, rule: int, match: int = 0, namespace: str = "default") -> Route:
    return Route("HTTPRoute", namespace, name, rule, match)


ECHO_1 = (("default", "echo-1"),)
ECHO_2 = (("default", "echo-2"),)
DOWN = (("default", "down"),)
SLOW = (("default", "slow"),)
ORDERS = (("team-b", "orders"),)
PASSED = Route("TLSRoute", "default", "passthrough", -1, -1)
VERSION = {"version": "2"}

KINDS = (
    Kind("root", 16, "http", "echo.example", "/", _http("echo", 0), ECHO_1),
    Kind("root-deep", 4, "http", "echo.example:80", "/loginx?a=1", _http("echo", 0), ECHO_1),
    Kind("login", 6, "http", "echo.example", "/login", _http("echo", 1), ECHO_2),
    Kind(
        "login-post", 4, "http", "echo.example", "/login/form", _http("echo", 1), ECHO_2,
        method="POST", body=600,
    ),
    Kind("version-2", 6, "http", "echo.example", "/", _http("echo", 2), ECHO_2, headers=VERSION),
    Kind("v2-path", 3, "http", "echo.example", "/v2", _http("echo", 2, 1), ECHO_2),
    Kind("split", 20, "http", "split.example", "/", _http("split", 0), ECHO_1 + ECHO_2),
    Kind(
        "header-add", 5, "http", "echo.example", "/req-header-add", _http("headers", 0), ECHO_1
    ),
    Kind("https", 5, "https", "secure.example", "/", _http("secure", 0), ECHO_1),
    Kind("https-echo", 3, "https", "echo.example", "/login", _http("echo", 1), ECHO_2),
    Kind("passthrough", 4, "tls", "pass.example", "/", PASSED, (("default", "tls-echo"),)),
    Kind("sni-unknown", 1, "tls", "nowhere.example", "/", None, status=0, by_gateway=True),
    Kind(
        "orders", 5, "http", "orders.example", "/orders/7", _http("orders", 0, 0, "team-b"), ORDERS
    ),
    Kind(
        "orders-post", 3, "http", "orders.example", "/orders", _http("orders", 0, 1, "team-b"),
        ORDERS, method="POST", body=2000,
    ),
    Kind("orders-404", 1, "http", "orders.example", "/other", None, status=404, by_gateway=True),
    Kind("redirect", 3, "http", "old.example", "/", _http("redirect", 0), status=301, by_gateway=True),
    Kind("no-route", 2, "http", "nowhere.example", "/", None, status=404, by_gateway=True),
    Kind("not-allowed", 1, "http", "intruder.example", "/", None, status=404, by_gateway=True),
    Kind("slow", 2, "http", "faults.example", "/slow", _http("faults", 0), SLOW),
    Kind(
        "flaky", 3, "http", "faults.example", "/flaky", _http("faults", 1),
        (("default", "flaky"),), status_of=flaky_status,
    ),
    Kind("refused", 1, "http", "faults.example", "/refused", _http("faults", 2), DOWN, status=503, by_gateway=True),
    Kind("timeout", 1, "http", "faults.example", "/timeout", _http("faults", 3), SLOW, status=504, by_gateway=True),
    Kind("nobody", 1, "http", "faults.example", "/nobody", _http("faults", 4), status=503, by_gateway=True),
)  # fmt: skip
DECK = sum(kind.share for kind in KINDS)


@lru_cache(8)
def _deck(number: int) -> tuple[Kind, ...]:
    cards = [kind for kind in KINDS for _ in range(kind.share)]
    random.Random(number).shuffle(cards)
    return tuple(cards)


def kind_of(seq: int) -> Kind:
    """The kind of request number seq; any DECK requests in a row from a multiple have all kinds."""
    return _deck(seq // DECK)[seq % DECK]


def fresh(seq: int) -> bool:
    """Whether the request opens a connection of its own, as one in four does."""
    return random.Random(seq).random() < 0.25


def traced(seq: int) -> bool:
    """Whether the request carries a traceparent; one in five does not."""
    return seq % 5 != 0
