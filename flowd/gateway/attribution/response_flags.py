"""What became of each request or connection, from Envoy's response flags and details.

Meanings of the flags: Envoy's data/accesslog/v3/accesslog.proto; of the details: its
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
"""Of several flags the first counts."""
_DENIED = ("ext_authz", "rbac_access_denied", "jwt_authn", "csrf_origin_mismatch")
_BITS = {
    outcome: np.uint64(sum(1 << RESPONSE_FLAGS.index(name) for name in names))
    for outcome, names in _FLAGS
}
_ANY = np.uint64(sum(map(int, _BITS.values())))


class Trait(IntFlag):
    """What is known of the rule that took a request."""

    MIRRORS = 1  # it sends copies elsewhere
    EMPTY = 2  # none of its backends has an endpoint


def fill_outcomes(batch: RequestBatch, traits: NDArray[np.uint8]) -> None:
    """Fill the column `outcome` in place.

    Args:
        traits: Trait bits of each request's rule, shape (N,).
    """
    mirrored = traits & Trait.MIRRORS > 0
    retried = batch["attempts"] > 1
    served = np.where(mirrored, RequestOutcome.MIRRORED, RequestOutcome.FORWARDED)
    served = np.where(retried, RequestOutcome.RETRIED, served)
    outcome = np.where(batch["up_remote_port"] > 0, served, 0).astype(np.uint8)
    flags, details = batch["flags"], batch["details"]
    for row in np.flatnonzero((details != "via_upstream") & (batch["status"] > 0)).tolist():
        said = _by_details(int(batch["kind"][row]), details[row], int(batch["status"][row]))
        if said and (details[row] or not outcome[row]):
            outcome[row] = said
    # Envoy Gateway answers for a Service without endpoints by a direct response
    empty = (outcome == RequestOutcome.DIRECT_RESPONSE) & (traits & Trait.EMPTY > 0)
    outcome[empty & (batch["status"] == 503)] = RequestOutcome.NO_ENDPOINTS
    flagged = np.flatnonzero(flags & _ANY)
    for row in flagged.tolist():
        outcome[row] = _by_flags(int(flags[row]), details[row], batch["transport_failure"][row])
    batch["outcome"] = outcome


def _by_flags(flags: int, details: str, transport_failure: str) -> RequestOutcome:
    outcome = next(outcome for outcome, bits in _BITS.items() if flags & int(bits))
    if outcome is RequestOutcome.CONNECT_FAILED:
        said = f"{details[:_LONGEST]} {transport_failure[:_LONGEST]}".lower()
        if "refused" in said or "delayed_connect_error:_111" in said:
            return RequestOutcome.REFUSED
        if "timeout" in said or "timed_out" in said:
            return RequestOutcome.TIMED_OUT
    return outcome


def _by_details(kind: int, details: str, status: int) -> RequestOutcome:
    """Of an answer that came without a flag which tells; UNKNOWN where a backend may have given it."""
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
