"""A cache of DNS names by address, learnt from DNS responses on the wire."""

from collections.abc import Mapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from flowd.model.address import pack
from flowd.model.enums import DnsKind
from flowd.model.losses import Losses, Place
from flowd.model.records.dns import Dns, DnsBatch

SECOND_NS = 1_000_000_000
MIN_TTL_SECONDS = 60
MAX_TTL_SECONDS = 3600
MAX_ALIASES = 4
GRACE_SECONDS = 10  # a connection opened just before expiry is reported later
SWEEP_SECONDS = 10


class DnsNames:
    """The queried name of each address in the latest response, whichever client asked.

    An entry lives for the least TTL of the answer's records, at least a minute and at most an
    hour. Above the limit the entry learnt longest ago is evicted and counted as `dns_names_full`
    under Place.CAPTURE.

    Args:
        limit: maximum number of addresses.
    """

    def __init__(self, losses: Losses, limit: int = 16384) -> None:
        self._losses = losses
        self._limit = limit
        self._entries: dict[bytes, tuple[str, int, tuple[str, ...]]] = {}  # name, expiry, aliases
        self._now = 0
        self._swept = 0

    def __len__(self) -> int:
        return len(self._entries)

    def learn(self, batch: DnsBatch, now_ns: int) -> None:
        """Add the addresses of responses, and expire old entries.

        Responses without an observed query are ignored, because any peer can send one.

        Args:
            batch: DNS rows, shape (N,).
            now_ns: Unix time, nanoseconds.
        """
        self._now = now_ns
        asked_for = (batch["kind"] == DnsKind.RESPONSE) & (batch["latency_ns"] > 0)
        answers: list[Dns] = batch["dns"][asked_for].tolist()
        for dns in answers:
            if not dns.ips or dns.rcode:
                continue
            seconds = min(max(dns.ttl, MIN_TTL_SECONDS), MAX_TTL_SECONDS) + GRACE_SECONDS
            until = now_ns + seconds * SECOND_NS
            entry = dns.query.removesuffix("."), until, dns.cnames[-MAX_ALIASES:]
            for text in dns.ips:
                address = pack(text)
                self._entries.pop(address, None)  # keeps the dict in order of learning
                self._entries[address] = entry
        if now_ns - self._swept >= SWEEP_SECONDS * SECOND_NS or len(self._entries) > self._limit:
            self._swept = now_ns
            self._entries = {
                address: entry for address, entry in self._entries.items() if entry[1] > now_ns
            }
        over = max(0, len(self._entries) - self._limit)
        for address in list(islice(self._entries, over)):
            del self._entries[address]
        self._losses.add(Place.CAPTURE, "dns_names_full", over)

    def name_of(self, addresses: NDArray[np.uint8]) -> NDArray[np.object_]:
        """The DNS name of each address, lower case and without its final dot, or None.

        Args:
            addresses: shape (n, 16).

        Returns:
            Shape (n,) of str or None, as of the last `learn`.
        """
        names = np.full(len(addresses), None, np.object_)
        if not self._entries or not len(addresses):
            return names
        raw, now = np.ascontiguousarray(addresses).tobytes(), self._now
        for row in range(len(addresses)):
            entry = self._entries.get(raw[16 * row : 16 * row + 16])
            if entry is not None and entry[1] > now:
                names[row] = entry[0]
        return names

    def endpoints_by_name(
        self, addresses: NDArray[np.uint8], hostnames: Mapping[str, int]
    ) -> NDArray[np.uint32]:
        """The endpoint of each address whose DNS name or one of its last CNAMEs is in `hostnames`.

        Args:
            addresses: shape (n, 16).
            hostnames: endpoint index by name, lower case and without a final dot.

        Returns:
            Endpoint indices, shape (n,), as of the last `learn`; 0 for no match.
        """
        found = np.zeros(len(addresses), np.uint32)
        if not hostnames or not self._entries:
            return found
        raw, now = np.ascontiguousarray(addresses).tobytes(), self._now
        for row in range(len(addresses)):
            entry = self._entries.get(raw[16 * row : 16 * row + 16])
            if entry is not None and entry[1] > now:
                names = (entry[0], *(name.removesuffix(".").lower() for name in entry[2]))
                found[row] = next((hostnames[name] for name in names if name in hostnames), 0)
        return found
