"""DNS messages from the kernel: two rings of payload, read together."""

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
    """The part that reads DNS; connections go on without where the kernel refuses it.

    A ring takes 3,971 short or 673 long messages between two readings. As nothing wakes the reader,
    that is also the most that a flood of messages can cost in user space.

    Args:
        losses: Place.CAPTURE, the reasons of `flowd.capture.dns.reader.REASONS`.
        ports: those of DNS servers, at most four.
        wanted: False leaves everything out, also of the programs.
    """

    def __init__(self, losses: Losses, *, ports: Sequence[int] = (53,), wanted: bool) -> None:
        self._ports = tuple(ports)[:PORTS]
        self._wanted = wanted and bool(ports)
        self._reader = DnsReader(losses)
        self._rings: list[Ring] = []
        self._later: list[NDArray[np.void]] = []
        self._read_at = 0.0
        self._state = State.OFF
        self._why = "not started" if self._wanted else "switched off by the setting `dns`"

    def load(
        self,
        settings: Mapping[str, int],
        drops: loader.DropUnit | None,
        sockets: loader.SocketUnit | None,
    ) -> loader.Loaded:
        """Compile and load the programs with this part, or without it where it is refused.

        Raises:
            BpfError: they are refused without it too.
        """
        if not self._wanted:
            return loader.load(settings, drops, sockets)
        try:
            return loader.load({**settings, **defines(self._ports)}, drops, sockets)
        except BpfError as error:
            loaded = loader.load(settings, drops, sockets)
            self._state, self._why = State.DEGRADED, str(error)
            return loaded

    def start(self, loaded: loader.Loaded) -> None:
        """Open the rings, if they were loaded.

        Raises:
            BpfError, OSError: the kernel refuses to map them.
        """
        for name, record in (("flowd_dns_short", DNS_SHORT), ("flowd_dns_long", DNS_LONG)):
            if name in loaded.maps:
                self._rings.append(Ring(loaded.maps[name], RING_BYTES, record))

    def read(self, epoch: int, *, everything: bool = False) -> DnsBatch:
        """Rows since the last call, five times a second at most.

        Args:
            epoch: Unix time in ns at which CLOCK_MONOTONIC was 0.
            everything: now, and what is younger than this call too.
        """
        if not self._rings or (time.monotonic() < self._read_at and not everything):
            return empty_dns()
        self._read_at = time.monotonic() + READ_SECONDS
        # A response must not overtake its query, which is in the ring that is read first
        now = time.monotonic_ns()
        batches: list[NDArray[Any]] = [*self._later, *(ring.read() for ring in self._rings)]
        self._later = []
        if not everything:
            early = [batch["head"]["time_ns"] <= now for batch in batches]
            late = [batch[~mask] for batch, mask in zip(batches, early, strict=True)]
            self._later = [batch for batch in late if len(batch)]
            batches = [batch[mask] for batch, mask in zip(batches, early, strict=True)]
        return self._reader.read(batches, now, epoch)

    def status(self) -> PartStatus:
        """On with what was seen, or off with the reason."""
        if not self._rings:
            return PartStatus("dns", self._state, self._why)
        ports, seen = ", ".join(map(str, self._ports)), self._reader
        return PartStatus(
            "dns",
            State.ON,
            f"port {ports}: {seen.queries:,} queries ({seen.retransmitted:,} sent again), "
            f"{seen.responses:,} responses, {seen.unanswered:,} unanswered",
        )

    def close(self) -> None:
        """Unmap the rings."""
        for ring in self._rings:
            ring.close()
        if self._rings:
            self._rings, self._why = [], "stopped"


def defines(ports: Sequence[int]) -> dict[str, int]:
    """What the compiler is told about the ports, at most four."""
    names = ("DNS_PORT", *(f"DNS_PORT_{number}" for number in range(2, PORTS + 1)))
    return {**dict(zip(names, ports, strict=False)), "DNS_RING_BYTES": RING_BYTES}
