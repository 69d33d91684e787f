"""Allocate numeric identities by hash, so that all nodes derive equal ones without coordination."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

FIRST = 256
LAST = 65535
ATTEMPTS = 64

IdentityKey: TypeAlias = tuple[str, ...]
"""Subject of an identity: cluster, namespace, then the workload or the labels."""


class IdentityAllocator:
    """Reference-counted allocation of identities from FIRST to LAST by key.

    The identity is a hash of the key, so nodes that load the same objects agree and a restart
    changes nothing. Of two keys with one hash, the later in sort order is hashed again. A key
    without a free number after ATTEMPTS tries shares one, which takes tens of thousands of
    workloads.

    Attributes:
        by_key: identity by key.
    """

    def __init__(self) -> None:
        self.by_key: dict[IdentityKey, int] = {}
        self._references: Counter[IdentityKey] = Counter()
        self._holders: dict[int, IdentityKey] = {}
        self._contested: set[int] = set()

    def update(self, added: Sequence[IdentityKey], removed: Sequence[IdentityKey]) -> bool:
        """Add and remove references to keys; return whether a remaining key got another identity.

        Adding or removing a key whose number no other key hashes to leaves the others unchanged;
        every other change allocates all keys again.
        """
        references = self._references
        references.update(added)
        references.subtract(removed)
        for key in set(removed):
            if not references[key]:
                del references[key]
        unused = [
            key for key in dict.fromkeys(removed) if key in self.by_key and key not in references
        ]
        for key in unused:
            number = self.by_key.pop(key)
            if number in self._contested or self._holders[number] != key:
                return self._reallocate()
            del self._holders[number]
        for key in dict.fromkeys(
            key for key in added if key in references and key not in self.by_key
        ):
            number = _number(key, 0)
            if number in self._holders:
                return self._reallocate()
            self.by_key[key], self._holders[number] = number, key
        return False

    def _reallocate(self) -> bool:
        before = self.by_key
        self.by_key, self._holders, self._contested = {}, {}, set()
        for key in sorted(self._references):
            number = _number(key, 0)
            for attempt in range(1, ATTEMPTS):
                if number not in self._holders:
                    break
                self._contested.add(number)
                number = _number(key, attempt)
            if number in self._holders:
                self._contested.add(number)
            self.by_key[key] = number
            self._holders.setdefault(number, key)
        return any(self.by_key.get(key, number) != number for key, number in before.items())


def _number(key: IdentityKey, attempt: int) -> int:
    digest = blake2b("\0".join((*key, str(attempt))).encode(errors="replace"), digest_size=8)
    return FIRST + int.from_bytes(digest.digest(), "big") % (LAST - FIRST + 1)
