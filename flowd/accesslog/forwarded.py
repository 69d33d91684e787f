"""Read the client's address from X-Forwarded-For, behind trusted proxies."""

from functools import lru_cache

import numpy as np

from flowd.accesslog.values import address
from flowd.model.address import NONE
from flowd.model.records.request import RequestBatch

HEADER = "x-forwarded-for"
_MAX_LENGTH = 1024


@lru_cache(16384)
def _cached(text: str, hops: int) -> bytes:
    parts = text.rsplit(",", hops + 1)
    if len(parts) <= hops:
        return NONE
    return address(parts[-hops - 1].strip())[0]


def forwarded_address(text: str, hops: int) -> bytes:
    """The peer address of the outermost trusted proxy, 16 bytes; zero when there is none.

    Args:
        text: X-Forwarded-For as Envoy logs it, with Envoy's own peer appended.
        hops: trusted proxies in front of Envoy (xff_num_trusted_hops); 0 trusts none.
    """
    if not text or hops < 1:
        return NONE
    return _cached(text[-_MAX_LENGTH:], hops)


def fill_forwarded(batch: RequestBatch, hops: int) -> None:
    """Set `forwarded_addr` in place from logged headers, in rows where it is zero."""
    if hops < 1 or not len(batch):
        return
    missing = np.flatnonzero(~batch["forwarded_addr"].any(axis=1))
    for row in missing.tolist():
        found = forwarded_address(batch["headers"][row].get(HEADER, ""), hops)
        if found != NONE:
            batch["forwarded_addr"][row] = np.frombuffer(found, np.uint8)
