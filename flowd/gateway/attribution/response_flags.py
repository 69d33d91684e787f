"""Fill the column `outcome` from Envoy's response flags and response code details.

Sources: flags, Envoy's data/accesslog/v3/accesslog.proto; details, its
StreamInfo::ResponseCodeDetails and Http::Utility::resetReasonToString.
"""

from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from flowd.gateway.attribution.entry import no_route_reason
from flowd.model.enums import RESPONSE_FLAGS, RequestOutcome
from flowd.model.records.request import RequestBatch

_LONGEST = 512
_FLAGS = (
    (RequestOutcome.RATE_LIMITED, ("RL",)),
    (RequestOutcome.NO_ROUTE, ("NR",)),
    (RequestOutcome.NO_ENDPOINTS, ("UH", "NC")),
    (RequestOutcome.TIMED_OUT, ("UT", "DT", "SI", "UMSDR")),
    (RequestOutcome.CONNECT_FAILED, ("UF", "DF")),
    (RequestOutcome.OVERLOADED, ("UO", "OM")),
    (RequestOutcome.FAULT, ("FI",)),
    (RequestOutcome.DENIED, ("UAEX",)),
    (RequestOutcome.BROKEN_OFF, ("UR", "UC", "UPE", "LR")),
    (RequestOutcome.CLIENT_GONE, ("DC", "DR")),
    (RequestOutcome.BAD_REQUEST, ("DPE", "IH")),
)
"""Outcome by response flag; the first row with a flag of the entry decides."""
_DENIED = ("ext_authz", "rbac_access_denied", "jwt_authn", "csrf_origin_mismatch")
_BITS = {
    outcome: np.uint64(sum(1 << RESPONSE_FLAGS.index(name) for name in names))
    for outcome, names in _FLAGS
}
_ANY = np.uint64(sum(map(int, _BITS.values())))


class RuleTrait(IntFlag):
    """Properties of the rule that accepted a request."""

    MIRRORS = 1  # the rule has a RequestMirror filter
    EMPTY = 2  # no backend of the rule has a ready endpoint


def fill_outcomes(batch: RequestBatch, traits: NDArray[np.uint8]) -> None:
    """Fill the column `outcome` (RequestOutcome values) in place.

    Args:
        traits: RuleTrait bits of the rule of each request, shape (N,), dtype u1.
    """
    mirrored = traits & RuleTrait.MIRRORS > 0
    retried = batch["attempts"] > 1
    served = np.where(mirrored, RequestOutcome.MIRRORED, RequestOutcome.FORWARDED)
    served = np.where(retried, RequestOutcome.RETRIED, served)
    outcome = np.where(batch["up_remote_port"] > 0, served, 0).astype(np.uint8)
    flags, details = batch["flags"], batch["details"]
    for row in np.flatnonzero((details != "via_upstream") & (batch["status"] > 0)).tolist():
        local = _by_details(int(batch["kind"][row]), details[row], int(batch["status"][row]))
        if local and (details[row] or not outcome[row]):
            outcome[row] = local
    # Envoy Gateway configures a direct response for a Service without endpoints
    empty = (outcome == RequestOutcome.DIRECT_RESPONSE) & (traits & RuleTrait.EMPTY > 0)
    outcome[empty & (batch["status"] == 503)] = RequestOutcome.NO_ENDPOINTS
    flagged = np.flatnonzero(flags & _ANY)
    for row in flagged.tolist():
        outcome[row] = _by_flags(int(flags[row]), details[row], batch["transport_failure"][row])
    batch["outcome"] = outcome


def _by_flags(flags: int, details: str, transport_failure: str) -> RequestOutcome:
    outcome = next(outcome for outcome, bits in _BITS.items() if flags & int(bits))
    if outcome is RequestOutcome.CONNECT_FAILED:
        text = f"{details[:_LONGEST]} {transport_failure[:_LONGEST]}".lower()
        if "refused" in text or "delayed_connect_error:_111" in text:
            return RequestOutcome.REFUSED
        if "timeout" in text or "timed_out" in text:
            return RequestOutcome.TIMED_OUT
    return outcome


def _by_details(kind: int, details: str, status: int) -> RequestOutcome:
    """Outcome of a response without a decisive flag, by its response code details and status."""
    if 300 <= status < 400:
        return RequestOutcome.REDIRECTED
    if details == "cors_response":
        return RequestOutcome.PREFLIGHT
    if details in ("", "direct_response"):
        return RequestOutcome.DIRECT_RESPONSE
    if details.endswith("rate_limited"):
        return RequestOutcome.RATE_LIMITED
    if details.startswith(_DENIED):
        return RequestOutcome.DENIED
    if no_route_reason(kind, details, 0):
        return RequestOutcome.BAD_REQUEST
    return RequestOutcome.LOCAL_REPLY
