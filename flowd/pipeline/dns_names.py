"""Names of addresses, as DNS answers told them."""

from collections.abc import Mapping
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from flowd.model.address import pack
from flowd.model.enums import DnsKind
from flowd.model.losses import Losses, Place
from flowd.model.records.dns import Dns, DnsBatch

SECOND_NS = 1_000_000_000
LEAST_SECONDS = 60
MOST_SECONDS = 3600
LAST_ALIASES = 4
GRACE_SECONDS = 10  # a connection made at the last moment is told of a little later
SWEEP_SECONDS = 10


class DnsNames:
    """Address to the name that was asked for, as the latest answer had it, whoever asked.

    A name is kept for the least time to live of its answer's records, at least a minute and at most
    an hour. Over the bound the name learnt longest ago goes first, counted as `dns_names_full` under
    Place.CAPTURE.

    Args:
        limit: most addresses.
    """

    def __init__(self, losses: Losses, limit: int = 16384) -> None:
        self._losses = losses
        self._limit = limit
        self._known: dict[bytes, tuple[str, int, tuple[str, ...]]] = {}  # with end and aliases
        self._now = 0
        self._swept = 0

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, batch: DnsBatch, now_ns: int) -> None:
        """Take the addresses of responses in, and forget what is too old by `now_ns` (Unix).

        A response whose query was not seen is not believed, as anybody can send one.
        """
        self._now = now_ns
        asked_for = (batch["kind"] == DnsKind.RESPONSE) & (batch["latency_ns"] > 0)
        answers: list[Dns] = batch["dns"][asked_for].tolist()
        for dns in answers:
            if not dns.ips or dns.rcode:
                continue
            seconds = min(max(dns.ttl, LEAST_SECONDS), MOST_SECONDS) + GRACE_SECONDS
            until = now_ns + seconds * SECOND_NS
            told = dns.query.removesuffix("."), until, dns.cnames[-LAST_ALIASES:]
            for text in dns.ips:
                address = pack(text)
                self._known.pop(address, None)  # the order is that of learning
                self._known[address] = told
        if now_ns - self._swept >= SWEEP_SECONDS * SECOND_NS or len(self._known) > self._limit:
            self._swept = now_ns
            self._known = {
                address: told for address, told in self._known.items() if told[1] > now_ns
            }
        over = max(0, len(self._known) - self._limit)
        for address in list(islice(self._known, over)):
            del self._known[address]
        self._losses.add(Place.CAPTURE, "dns_names_full", over)

    def name_of(self, addresses: NDArray[np.uint8]) -> NDArray[np.object_]:
        """Names, lower case and without their final dot, or None.

        Args:
            addresses: shape (n, 16).

        Returns:
            Shape (n,) of str or None, as of the last `learn`.
        """
        names = np.full(len(addresses), None, np.object_)
        if not self._known or not len(addresses):
            return names
        raw, now = np.ascontiguousarray(addresses).tobytes(), self._now
        for row in range(len(addresses)):
            told = self._known.get(raw[16 * row : 16 * row + 16])
            if told is not None and told[1] > now:
                names[row] = told[0]
        return names

    def holders(
        self, addresses: NDArray[np.uint8], hostnames: Mapping[str, int]
    ) -> NDArray[np.uint32]:
        """Endpoint indices of addresses whose name, or one of the last aliases on the way to them, is among these.

        Args:
            addresses: shape (n, 16).
            hostnames: endpoint index by name, lower case and without a final dot.

        Returns:
            Shape (n,), as of the last `learn`; 0 where none is.
        """
        found = np.zeros(len(addresses), np.uint32)
        if not hostnames or not self._known:
            return found
        raw, now = np.ascontiguousarray(addresses).tobytes(), self._now
        for row in range(len(addresses)):
            told = self._known.get(raw[16 * row : 16 * row + 16])
            if told is not None and told[1] > now:
                names = (told[0], *(name.removesuffix(".").lower() for name in told[2]))
                found[row] = next((hostnames[name] for name in names if name in hostnames), 0)
        return found
