"""Requests and their outcomes as parity compares them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec


class Seen(msgspec.Struct, frozen=True):
    """What an access log says became of a request.

    Attributes:
        status: status that the client got.
        upstream: name of the upstream that took it, "" for none.
        answered: a backend answered.
        retried: the first backend that was tried did not answer.
    """

    status: int
    upstream: str = ""
    answered: bool = True
    retried: bool = False


class ParityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of request, as a JSON line has it.

    Attributes:
        host: Host header or authority; None when the request has none.
        path: raw request target with its query.
        scheme: http or https, as the client connects.
        body_bytes: Content-Length.
        count: how many such requests there were.
        gateway: `namespace/name` of the Gateway that the client reaches; None for any.
        seen: what an access log says became of it; None for requests that no log has.
    """

    host: str | None = None
    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    scheme: str = "http"
    body_bytes: int = 0
    count: int = 1
    gateway: str | None = None
    seen: "Seen | None" = None

    def header(self, name: str) -> str | None:
        """Value of a header by its name in any case; None if absent."""
        lower = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == lower), None)


@dataclass(slots=True)
class Outcome:
    """The answer to a request, or the way that it is forwarded.

    Attributes:
        status: status of the proxy's own answer; 200 when a backend answers, 0 for a refused
            connection, None when it cannot be known.
        backend: `namespace/service:port` that answers; "" when the proxy answers itself.
        shares: share of the requests by backend (0 to 1) where more than one may answer.
        upstream_path: raw target that the backend receives.
        upstream_host: Host header that the backend receives, without port; "" for the client's.
        location: Location header of the proxy's own answer.
        rule: name of the location or `namespace/route/rule` that took the request.
        request_headers: headers that the proxy changes towards the backend: value, or None for removed.
        response_headers: headers that the proxy adds to the answer.
        backend_tls: the proxy speaks TLS to the backend.
        retries: a failed try was followed by another one.
        seen_cause: cause id of a difference that only the access log shows; "" for none.
        notes: cause ids of behaviours that shaped this outcome, strongest first.
        unknown: cause ids of what keeps the outcome from being known.
    """

    status: int | None = 200
    backend: str = ""
    shares: dict[str, float] = field(default_factory=dict[str, float])
    upstream_path: str = ""
    upstream_host: str = ""
    location: str = ""
    rule: str = ""
    request_headers: dict[str, str | None] = field(default_factory=dict[str, str | None])
    response_headers: dict[str, str] = field(default_factory=dict[str, str])
    backend_tls: bool = False
    retries: bool = False
    seen_cause: str = ""
    notes: list[str] = field(default_factory=list[str])
    unknown: list[str] = field(default_factory=list[str])


Ready = Callable[[str], bool | None]
"""Whether a backend `namespace/service:port` has endpoints; None if unknown."""
