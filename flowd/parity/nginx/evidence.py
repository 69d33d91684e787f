"""Correct a simulated outcome by what the access log says: the log is the truth of the past."""

from flowd.parity.nginx.annotations import Annotations
from flowd.parity.nginx.servers import Location
from flowd.parity.outcome import Outcome, Seen

TRANSIENT = "backend-failure"
"""Cause id of 502, 503 and 504 that the objects do not explain: a fault of that moment."""


def apply_evidence(outcome: Outcome, seen: Seen, location: Location | None) -> None:
    """Change the outcome where the log contradicts the simulation.

    A status of a backend says nothing about routing, so only statuses of nginx itself count. What
    neither objects nor annotations explain becomes unknown.
    """
    annotations = location.annotations if location else Annotations()
    if seen.answered:
        if outcome.unknown == ["snippet"]:
            outcome.unknown.clear()
        if seen.retried:
            outcome.seen_cause = "retry"
        return
    if seen.status == outcome.status:
        return
    cause = _cause(seen, annotations)
    if not cause:
        outcome.unknown.append(TRANSIENT if seen.status in (502, 503, 504) else "unexplained")
        return
    outcome.unknown.clear()
    outcome.seen_cause = cause
    outcome.status, outcome.backend, outcome.location = seen.status, "", ""
    outcome.shares.clear()
    if "www-authenticate" in outcome.response_headers:
        del outcome.response_headers["www-authenticate"]


def _cause(seen: Seen, annotations: Annotations) -> str:
    """Cause id of a status that nginx answered; "" if no annotation explains it."""
    if seen.status == 504 and annotations.read_timeout is not None:
        return "timeout"
    if seen.status == 502 and annotations.backend_protocol in ("HTTPS", "GRPCS"):
        return "backend-protocol"
    if seen.status == 503 and (annotations.auth_type or annotations.auth_url):
        return "location-denied"
    if seen.status == 503 and annotations.limits:
        return "rate-limit"
    if annotations.snippets:
        return "snippet"
    if seen.status == 403 and (annotations.allow_list or annotations.deny_list):
        return "ip-allowlist"
    if seen.status in (401, 302) and (annotations.auth_type or annotations.auth_url):
        return "auth"
    return ""
