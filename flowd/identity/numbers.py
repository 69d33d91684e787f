"""Numeric identities that every node derives alike, without asking anyone."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import TypeAlias

FIRST = 256
LAST = 65535
ATTEMPTS = 64

Key: TypeAlias = tuple[str, ...]
"""What an identity stands for: cluster, namespace, then the workload or the labels."""


def allot(keys: Iterable[Key]) -> dict[Key, int]:
    """A number from FIRST to LAST for each key.

    The number is a hash of the key, so nodes that load the same objects agree and a restart
    changes nothing. Of two keys with one hash the later in sort order is hashed again; one that finds
    no free number in ATTEMPTS tries shares, which takes tens of thousands of workloads.
    """
    numbers: dict[Key, int] = {}
    taken: set[int] = set()
    for key in sorted(set(keys)):
        number = _number(key, 0)
        for attempt in range(1, ATTEMPTS):
            if number not in taken:
                break
            number = _number(key, attempt)
        numbers[key] = number
        taken.add(number)
    return numbers


def _number(key: Key, attempt: int) -> int:
    digest = blake2b("\0".join((*key, str(attempt))).encode(errors="replace"), digest_size=8)
    return FIRST + int.from_bytes(digest.digest(), "big") % (LAST - FIRST + 1)
