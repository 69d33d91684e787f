"""Numeric identities that every node derives alike, without asking anyone."""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

FIRST = 256
LAST = 65535
ATTEMPTS = 64

Key: TypeAlias = tuple[str, ...]
"""What an identity stands for: cluster, namespace, then the workload or the labels."""


class Numbers:
    """A number from FIRST to LAST for each of the keys that come and go.

    The number is a hash of the key, so nodes that load the same objects agree and a restart
    changes nothing. Of two keys with one hash the later in sort order is hashed again; one that finds
    no free number in ATTEMPTS tries shares, which takes tens of thousands of workloads.

    Attributes:
        by_key: the number of each key.
    """

    def __init__(self) -> None:
        self.by_key: dict[Key, int] = {}
        self._uses: Counter[Key] = Counter()
        self._holders: dict[int, Key] = {}
        self._refused: set[int] = set()

    def change(self, come: Sequence[Key], gone: Sequence[Key]) -> bool:
        """Count uses of keys; whether a key that stays got another number.

        A key that comes to a number which no key ever wanted, and one that goes from such a
        number, changes nothing for the others; anything else means to allot all again.
        """
        uses = self._uses
        uses.update(come)
        uses.subtract(gone)
        for key in set(gone):
            if not uses[key]:
                del uses[key]
        lost = [key for key in dict.fromkeys(gone) if key in self.by_key and key not in uses]
        for key in lost:
            number = self.by_key.pop(key)
            if number in self._refused or self._holders[number] != key:
                return self._allot()
            del self._holders[number]
        for key in dict.fromkeys(key for key in come if key in uses and key not in self.by_key):
            number = _number(key, 0)
            if number in self._holders:
                return self._allot()
            self.by_key[key], self._holders[number] = number, key
        return False

    def _allot(self) -> bool:
        before = self.by_key
        self.by_key, self._holders, self._refused = {}, {}, set()
        for key in sorted(self._uses):
            number = _number(key, 0)
            for attempt in range(1, ATTEMPTS):
                if number not in self._holders:
                    break
                self._refused.add(number)
                number = _number(key, attempt)
            if number in self._holders:
                self._refused.add(number)
            self.by_key[key] = number
            self._holders.setdefault(number, key)
        return any(self.by_key.get(key, number) != number for key, number in before.items())


def _number(key: Key, attempt: int) -> int:
    digest = blake2b("\0".join((*key, str(attempt))).encode(errors="replace"), digest_size=8)
    return FIRST + int.from_bytes(digest.digest(), "big") % (LAST - FIRST + 1)
