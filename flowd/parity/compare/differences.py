"""Compare the outcomes of a request before and after, part by part."""

from dataclasses import dataclass, field

from flowd.parity.outcome import Outcome, ParityRequest

TOLERANCE = 0.02
"""Shares that differ by less are the same."""

_LISTS = frozenset(
    (
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-expose-headers",
    )
)
_PORTS = {"http://": ":80", "https://": ":443"}


@dataclass(slots=True)
class ParityVerdict:
    """The comparison of one kind of request.

    Attributes:
        verdict: `same`, `different`, `unknown` or `depends`.
        cause: cause id; "" for `same`.
        differs: parts that differ: `status`, `backend`, `shares`, `path`, `host`, `backend-protocol`,
            `retry`, `location-header`,
            `request-headers:…`, `response-headers:…`.
        implementations: of `depends`, the implementations for which the sides differ.
    """

    request: ParityRequest
    verdict: str
    cause: str
    differs: list[str]
    before: Outcome
    after: Outcome
    implementations: list[str] = field(default_factory=list[str])


def differences(before: Outcome, after: Outcome) -> list[str]:
    """Names of the parts that differ."""
    found: list[str] = []
    mixed = bool(before.shares or after.shares)
    if before.status != after.status:
        found.append("status")
    if mixed and not _same_shares(_shares(before), _shares(after)):
        found.append("shares")
    elif not mixed and before.backend != after.backend:
        found.append("backend")
    answered = bool(_shares(before) and _shares(after))
    if answered and before.upstream_path != after.upstream_path:
        found.append("path")
    if answered and before.backend_tls != after.backend_tls:
        found.append("backend-protocol")
    if before.seen_cause == "retry" and not after.retries:
        found.append("retry")
    if answered and before.upstream_host != after.upstream_host:
        found.append("host")
    if _location(before.location) != _location(after.location):
        found.append("location-header")
    if answered:
        found += _headers("request-headers", before.request_headers, after.request_headers)
    return found + _headers("response-headers", before.response_headers, after.response_headers)


def _shares(outcome: Outcome) -> dict[str, float]:
    return outcome.shares or ({outcome.backend: 1.0} if outcome.backend else {})


def _same_shares(before: dict[str, float], after: dict[str, float]) -> bool:
    names = before.keys() | after.keys()
    return all(abs(before.get(name, 0) - after.get(name, 0)) < TOLERANCE for name in names)


def _location(location: str) -> str:
    """A Location header without the scheme's own port, with "/" for an empty path."""
    for scheme, port in _PORTS.items():
        if not location.startswith(scheme):
            continue
        authority, slash, rest = location[len(scheme) :].partition("/")
        authority, mark, query = authority.partition("?")
        return f"{scheme}{authority.removesuffix(port)}/{rest if slash else ''}{mark}{query}"
    return location


def _headers(
    name: str,
    before: dict[str, str | None] | dict[str, str],
    after: dict[str, str | None] | dict[str, str],
) -> list[str]:
    differing = [
        header
        for header in sorted(before.keys() | after.keys())
        if _value(header, before.get(header, "-")) != _value(header, after.get(header, "-"))
    ]
    return [f"{name}:{','.join(differing)}"] if differing else []


def _value(header: str, value: str | None) -> object:
    if header in _LISTS and value:
        return frozenset(item.strip().lower() for item in value.split(","))
    return value
