"""Requests of the demo's clients, with the expected route, backend and status of each.

The expectations are derived from `manifests/` by hand, so that tests also check the translation
into Envoy's configuration.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from demo.backend import flaky_status


@dataclass(frozen=True, slots=True)
class ExpectedRoute:
    """Route that a request must be attributed to; rule and match are -1 for TLSRoutes."""

    kind: str
    namespace: str
    name: str
    rule: int
    match: int


@dataclass(frozen=True, slots=True)
class RequestKind:
    """One kind of request.

    Attributes:
        name: name in tests and summaries.
        share: number of requests of this kind in each CYCLE.
        listener: http, https or tls.
        host, path, method, headers, body: of the request; host is also the SNI, body its size.
        route: expected route; None for none.
        backends: (namespace, name) of each Service that may receive it; () for none.
        by_gateway: the gateway answers itself, because there is no backend or it failed.
        status: expected status; 0 if the connection is closed without a response.
        status_of: expected status by request number, instead of `status`.
    """

    name: str
    share: int
    listener: str
    host: str
    path: str
    route: ExpectedRoute | None
    backends: tuple[tuple[str, str], ...] = ()
    status: int = 200
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: int = 0
    by_gateway: bool = False
    status_of: Callable[[int], int] | None = None

    def expected_status(self, seq: int) -> int:
        return self.status_of(seq) if self.status_of else self.status


def _http(name: str, rule: int, match: int = 0, namespace: str = "default") -> ExpectedRoute:
    return ExpectedRoute("HTTPRoute", namespace, name, rule, match)


ECHO_1 = (("default", "echo-1"),)
ECHO_2 = (("default", "echo-2"),)
DOWN = (("default", "down"),)
SLOW = (("default", "slow"),)
ORDERS = (("team-b", "orders"),)
PASSTHROUGH = ExpectedRoute("TLSRoute", "default", "passthrough", -1, -1)
VERSION = {"version": "2"}

KINDS = (
    RequestKind("root", 16, "http", "echo.example", "/", _http("echo", 0), ECHO_1),
    RequestKind("root-deep", 4, "http", "echo.example:80", "/loginx?a=1", _http("echo", 0), ECHO_1),
    RequestKind("login", 6, "http", "echo.example", "/login", _http("echo", 1), ECHO_2),
    RequestKind(
        "login-post", 4, "http", "echo.example", "/login/form", _http("echo", 1), ECHO_2,
        method="POST", body=600,
    ),
    RequestKind("version-2", 6, "http", "echo.example", "/", _http("echo", 2), ECHO_2, headers=VERSION),
    RequestKind("v2-path", 3, "http", "echo.example", "/v2", _http("echo", 2, 1), ECHO_2),
    RequestKind("split", 20, "http", "split.example", "/", _http("split", 0), ECHO_1 + ECHO_2),
    RequestKind(
        "header-add", 5, "http", "echo.example", "/req-header-add", _http("headers", 0), ECHO_1
    ),
    RequestKind("https", 5, "https", "secure.example", "/", _http("secure", 0), ECHO_1),
    RequestKind("https-echo", 3, "https", "echo.example", "/login", _http("echo", 1), ECHO_2),
    RequestKind("passthrough", 4, "tls", "pass.example", "/", PASSTHROUGH, (("default", "tls-echo"),)),
    RequestKind("sni-unknown", 1, "tls", "nowhere.example", "/", None, status=0, by_gateway=True),
    RequestKind(
        "orders", 5, "http", "orders.example", "/orders/7", _http("orders", 0, 0, "team-b"), ORDERS
    ),
    RequestKind(
        "orders-post", 3, "http", "orders.example", "/orders", _http("orders", 0, 1, "team-b"),
        ORDERS, method="POST", body=2000,
    ),
    RequestKind("orders-404", 1, "http", "orders.example", "/other", None, status=404, by_gateway=True),
    RequestKind("redirect", 3, "http", "old.example", "/", _http("redirect", 0), status=301, by_gateway=True),
    RequestKind("no-route", 2, "http", "nowhere.example", "/", None, status=404, by_gateway=True),
    RequestKind("not-allowed", 1, "http", "intruder.example", "/", None, status=404, by_gateway=True),
    RequestKind("slow", 2, "http", "faults.example", "/slow", _http("faults", 0), SLOW),
    RequestKind(
        "flaky", 3, "http", "faults.example", "/flaky", _http("faults", 1),
        (("default", "flaky"),), status_of=flaky_status,
    ),
    RequestKind("refused", 1, "http", "faults.example", "/refused", _http("faults", 2), DOWN, status=503, by_gateway=True),
    RequestKind("timeout", 1, "http", "faults.example", "/timeout", _http("faults", 3), SLOW, status=504, by_gateway=True),
    RequestKind("nobody", 1, "http", "faults.example", "/nobody", _http("faults", 4), status=503, by_gateway=True),
)  # fmt: skip
CYCLE = sum(kind.share for kind in KINDS)
"""Number of requests after which every kind was sent `share` times."""


@lru_cache(8)
def _cycle(number: int) -> tuple[RequestKind, ...]:
    kinds = [kind for kind in KINDS for _ in range(kind.share)]
    random.Random(number).shuffle(kinds)
    return tuple(kinds)


def kind_of(seq: int) -> RequestKind:
    """Kind of request number `seq`; requests n * CYCLE to (n + 1) * CYCLE - 1 have all kinds."""
    return _cycle(seq // CYCLE)[seq % CYCLE]


def opens_connection(seq: int) -> bool:
    """Whether the request opens a new connection, as one in four does."""
    return random.Random(seq).random() < 0.25


def has_traceparent(seq: int) -> bool:
    """Whether the request carries a traceparent; one in five does not."""
    return seq % 5 != 0
