"""Capture DNS messages in the kernel: load the programs with DNS, and read their two rings."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowd.capture.dns.reader import DnsReader
from flowd.model.losses import Losses
from flowd.model.records.dns import DnsBatch, empty_dns
from flowd.model.status import PartStatus, State
from flowd_bpf.errors import BpfError
from flowd_bpf.layout import DNS_LONG, DNS_SHORT
from flowd_bpf.load import loader
from flowd_bpf.maps.ring import Ring

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PORTS = 4
RING_BYTES = 1 << 20
READ_SECONDS = 0.2


class KernelDns:
    """The optional part that reads DNS; capture of connections works without it.

    A ring holds 3,971 short or 673 long messages between two reads. The rings cause no wakeups, so
    their size also bounds what a flood of messages costs in user space.

    Args:
        losses: under Place.CAPTURE the reasons of `flowd.capture.dns.reader.REASONS`.
        ports: ports of DNS servers, at most four.
        wanted: False switches the part off, also in the programs.
    """

    def __init__(self, losses: Losses, *, ports: Sequence[int] = (53,), wanted: bool) -> None:
        self._ports = tuple(ports)[:PORTS]
        self._wanted = wanted and bool(ports)
        self._reader = DnsReader(losses)
        self._rings: list[Ring] = []
        self._deferred: list[NDArray[np.void]] = []
        self._next_read = 0.0
        self._state = State.OFF
        self._detail = "not started" if self._wanted else "switched off by the setting `dns`"

    def load(
        self,
        settings: Mapping[str, int],
        drops: loader.DropUnit | None,
        sockets: loader.SocketUnit | None,
    ) -> loader.LoadedPrograms:
        """Compile and load the programs with DNS, or without it if the kernel refuses them.

        Raises:
            BpfError: the kernel refuses the programs without DNS too.
        """
        if not self._wanted:
            return loader.load(settings, drops, sockets)
        try:
            return loader.load({**settings, **defines(self._ports)}, drops, sockets)
        except BpfError as error:
            loaded = loader.load(settings, drops, sockets)
            self._state, self._detail = State.DEGRADED, str(error)
            return loaded

    def start(self, loaded: loader.LoadedPrograms) -> None:
        """Map the rings, if they were loaded.

        Raises:
            BpfError, OSError: the kernel refuses to map them.
        """
        for name, record in (("flowd_dns_short", DNS_SHORT), ("flowd_dns_long", DNS_LONG)):
            if name in loaded.maps:
                self._rings.append(Ring(loaded.maps[name], RING_BYTES, record))

    def read(self, epoch: int, *, everything: bool = False) -> DnsBatch:
        """DNS rows since the last call, shape (N,); empty within READ_SECONDS of the last read.

        Args:
            epoch: Unix time in ns at which CLOCK_MONOTONIC was 0.
            everything: read at once, and include records that are newer than this call.
        """
        if not self._rings or (time.monotonic() < self._next_read and not everything):
            return empty_dns()
        self._next_read = time.monotonic() + READ_SECONDS
        # A response in the second ring must not precede its query in the first, read before it
        now = time.monotonic_ns()
        batches: list[NDArray[Any]] = [*self._deferred, *(ring.read() for ring in self._rings)]
        self._deferred = []
        if not everything:
            early = [batch["head"]["time_ns"] <= now for batch in batches]
            late = [batch[~mask] for batch, mask in zip(batches, early, strict=True)]
            self._deferred = [batch for batch in late if len(batch)]
            batches = [batch[mask] for batch, mask in zip(batches, early, strict=True)]
        return self._reader.read(batches, now, epoch)

    def status(self) -> PartStatus:
        """ON with totals of messages, or OFF or DEGRADED with the reason."""
        if not self._rings:
            return PartStatus("dns", self._state, self._detail)
        ports, reader = ", ".join(map(str, self._ports)), self._reader
        return PartStatus(
            "dns",
            State.ON,
            f"port {ports}: {reader.queries:,} queries ({reader.retransmitted:,} sent again), "
            f"{reader.responses:,} responses, {reader.unanswered:,} unanswered",
        )

    def close(self) -> None:
        """Unmap the rings."""
        for ring in self._rings:
            ring.close()
        if self._rings:
            self._rings, self._detail = [], "stopped"


def defines(ports: Sequence[int]) -> dict[str, int]:
    """Macros of config.h for at most four ports."""
    names = ("DNS_PORT", *(f"DNS_PORT_{number}" for number in range(2, PORTS + 1)))
    return {**dict(zip(names, ports, strict=False)), "DNS_RING_BYTES": RING_BYTES}
