"""The client's address as trusted hops forwarded it, from X-Forwarded-For."""

from functools import lru_cache

import numpy as np

from flowd.accesslog.values import address
from flowd.model.address import NONE
from flowd.model.records.request import RequestBatch

HEADER = "x-forwarded-for"
_LONGEST = 1024


@lru_cache(16384)
def _cached(text: str, hops: int) -> bytes:
    parts = text.rsplit(",", hops + 1)
    if len(parts) <= hops:
        return NONE
    return address(parts[-hops - 1].strip())[0]


def forwarded_address(text: str, hops: int) -> bytes:
    """16 bytes of the address that the outermost trusted hop saw; all zero when there is none.

    Args:
        text: X-Forwarded-For as the proxy logs it, its own peer appended as the last address.
        hops: trusted proxies before it (Envoy's xff_num_trusted_hops); 0 trusts none.
    """
    if not text or hops < 1:
        return NONE
    return _cached(text[-_LONGEST:], hops)


def fill_forwarded(batch: RequestBatch, hops: int) -> None:
    """Set `forwarded_addr` from logged headers, in place, where Envoy itself tells none."""
    if hops < 1 or not len(batch):
        return
    open_rows = np.flatnonzero(~batch["forwarded_addr"].any(axis=1))
    for row in open_rows.tolist():
        found = forwarded_address(batch["headers"][row].get(HEADER, ""), hops)
        if found != NONE:
            batch["forwarded_addr"][row] = np.frombuffer(found, np.uint8)
