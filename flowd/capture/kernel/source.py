"""Connections from the kernel: programs on every interface, a ring of records, a table to drain."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from numpy.typing import NDArray

from flowd.capture.dns.source import KernelDns
from flowd.capture.kernel.address_reuse import Moved, of_former_holders
from flowd.capture.kernel.clock import UnixEpoch
from flowd.capture.kernel.drops import KernelDrops
from flowd.capture.kernel.endpoints import KernelEndpoints
from flowd.capture.kernel.filter import Filter
from flowd.capture.kernel.interfaces import KernelLinks
from flowd.capture.kernel.ring_poller import Wakes
from flowd.capture.kernel.rows import batches, from_entries
from flowd.capture.kernel.sockets import KernelSockets
from flowd.capture.kernel.sweep_schedule import Pace
from flowd.capture.kernel.tunnels import TunnelNames, port_settings
from flowd.errors import UnsupportedError
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.dns import DnsBatch, empty_dns
from flowd.model.records.drop import DropBatch, empty_drops
from flowd.model.records.rows import joined
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Queue
from flowd_bpf.attach.attacher import Attacher, AttachMode, attacher
from flowd_bpf.errors import BpfError
from flowd_bpf.layout import EVENT, FATES, Counter
from flowd_bpf.load import loader
from flowd_bpf.maps.connection_table import Choice, ConnectionTable, Limits
from flowd_bpf.maps.maps import PerCpuCounters
from flowd_bpf.maps.ring import Ring

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)

DROP_ROWS = 65536
SOCKET_ROWS = 131072
DNS_ROWS = 65536

_LOST = {
    "ring_full": Counter.RING_FULL,
    "map_full": Counter.MAP_FULL,
    "malformed": Counter.MALFORMED,
    "fragment_unknown": Counter.FRAGMENT_UNKNOWN,
    "tunnel_unnamed": Counter.TUNNEL_UNNAMED,
    "dns_ring_full": Counter.DNS_RING_FULL,
}


class KernelCapture:
    """Every connection that crosses this network namespace's interfaces.

    Args:
        directory: its `interfaces` are kept current, and its `tunnels` grow.
        losses: what the kernel could not take, under Place.KERNEL: `ring_full` (records that had to
            wait for the next one), `map_full` and `malformed` (packets), `endpoints_full`
            (addresses and networks without a place in the kernel's maps), `fragment_unknown`
            (later fragments that came before their first, and so count without ports),
            `tunnel_unnamed` (connections whose tunnel had no place in the kernel's map), `dns_ring_full`
            (stretches of DNS).
        interfaces: globs; `!glob` excludes, `lo` only when named.
        connections, endpoints: that the kernel's maps have space for.
        hash_seed: of the kernel's table, 32 bits; random if not given.
        ring_bytes: size of the ring, a power of two.
        active_seconds: between records of a connection that has packets.
        detail_records: a second at most, of TCP flags that are new to a connection, and of sockets that are
            established; what is above it is told by the next record.
        attach: tcx where the kernel has it, or the one asked for.
        head: run before other tcx programs.
        limits: when a connection is over.
        drops: count dropped packets too, in all network namespaces of this machine.
        tunnel_ports: UDP ports of tunnels, as in `vxlan:4789`; what is inside is the connection.
        sockets: follow TCP sockets too, of all cgroups and network namespaces.
        only: which connections are taken.
        dns, dns_ports: read DNS messages from and to these ports too.

    Raises:
        UsageError: tunnel ports that cannot be.
    """

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        *,
        interfaces: Sequence[str] = ("*",),
        connections: int = 131072,
        endpoints: int = 65536,
        hash_seed: int | None = None,
        ring_bytes: int = 4 << 20,
        active_seconds: float = 5.0,
        detail_records: int = 2000,
        attach: AttachMode = "auto",
        head: bool = True,
        limits: Limits | None = None,
        drops: bool = False,
        tunnel_ports: Sequence[str] = ("vxlan:4789", "vxlan:8472", "geneve:6081"),
        sockets: bool = False,
        only: Filter | None = None,
        dns: bool = False,
        dns_ports: Sequence[int] = (53,),
    ) -> None:
        self._directory = directory
        self._losses = losses
        self._globs = tuple(interfaces)
        details = -(-detail_records // (os.cpu_count() or 1))
        self._settings = {
            "DETAIL_RECORDS": details,
            "MAX_CONNECTIONS": connections,
            "HASH_SEED": secrets.randbits(32) if hash_seed is None else hash_seed,
            "MAX_ENDPOINTS": endpoints,
            "RING_BYTES": ring_bytes,
            "ACTIVE_TICKS": max(1, round(active_seconds * loader.ticks_per_second())),
            **port_settings(tunnel_ports),
        }
        self._filter = only or Filter()
        self._mode: AttachMode = attach
        self._head = head
        self._limits = limits or Limits()
        self._drops = KernelDrops(directory, losses, wanted=drops)
        self._dns = KernelDns(losses, ports=dns_ports, wanted=dns)
        self._messages: Queue[DnsBatch] = Queue("dns", DNS_ROWS, losses)
        self._dropped: Queue[DropBatch] = Queue("drops", DROP_ROWS, losses)
        self._sockets = KernelSockets(
            directory,
            losses,
            wanted=sockets,
            active_seconds=active_seconds,
            detail_records=details,
        )
        self._reported: Queue[SocketBatch] = Queue("sockets", SOCKET_ROWS, losses)
        # Attaching takes its time, and pyroute2 waits for its own loop.
        self._aside = ThreadPoolExecutor(1, "attach")
        self._loading: Future[loader.Loaded] | None = None
        self._loaded: loader.Loaded | None = None
        self._attacher: Attacher | None = None
        self._out: Queue[ConnectionBatch] | None = None
        self._endpoints = KernelEndpoints(losses)
        self._moved = Moved(directory)
        self._epoch = UnixEpoch()
        self._pace = Pace()
        self._created = self._ended = self._removed = 0
        self._packets = dict.fromkeys(FATES, 0)

    def begin(self) -> None:
        """Let a child process compile and load, if none does; `start` waits for it."""
        self._loading = self._loading or self._aside.submit(self._load)

    def _load(self) -> loader.Loaded:
        settings = {**self._settings, **self._filter.defines()}
        return self._dns.load(settings, self._drops.unit(), self._sockets.unit())

    async def start(self) -> None:
        """Attach to the interfaces there are, when the programs are loaded.

        Raises:
            UnsupportedError: this machine or these privileges cannot do it; the hint says more.
        """
        try:
            self.begin()
            assert self._loading
            self._loaded = await asyncio.wrap_future(self._loading)
            maps, programs = self._loaded.maps, self._loaded.programs
            self._ring = Ring(maps["flowd_events"], self._settings["RING_BYTES"], EVENT)
            self._counters = PerCpuCounters(maps["flowd_counters"], len(Counter))
            self._filter.fill(maps)
            self._endpoints.start(maps)
            self._table = ConnectionTable(
                maps,
                programs,
                loader.ticks_per_second(),
                self._settings["MAX_CONNECTIONS"],
                self._limits,
            )
            self._tunnels = TunnelNames(self._directory, maps["flowd_tunnels"])
            attach = partial(attacher, programs, self._mode, head=self._head)
            self._attacher = await self._apart(attach)
            self._links = KernelLinks(self._directory, self._globs, self._attacher, self._apart)
            self._dns.start(self._loaded)
        except BpfError as error:
            await self._abandon()
            raise UnsupportedError(error.message, error.hint) from None
        except OSError as error:
            await self._abandon()
            raise UnsupportedError(f"cannot capture in the kernel: {error}") from None
        self._drops.start(self._loaded)
        await self._apart(self._sockets.start, self._loaded)
        self._count()
        await self._links.follow()
        log.info("capture started", extra={"interfaces": len(self._attacher)})

    async def run(self, out: Queue[ConnectionBatch]) -> None:
        """Put rows into `out`, five times a second or sooner when a ring fills, until cancelled.

        Raises:
            UnsupportedError: the kernel refuses what it did before.
        """
        self._out = out
        wakes = Wakes(fd for fd in (self._ring.fd, self._sockets.fd) if fd is not None)
        links = asyncio.create_task(self._links.watch())
        try:
            while True:
                await wakes.wait()
                self._emit(out)
                self._messages.put(self._dns.read(self._epoch.now()))
                if links.done():
                    links.result()
                if self._pace.due():
                    await self._sweep(out)
        except BpfError as error:
            raise UnsupportedError(error.message, error.hint) from None
        except OSError as error:
            raise UnsupportedError(f"cannot follow the interfaces: {error}") from None
        finally:
            wakes.close()
            links.cancel()
            await asyncio.wait([links])

    def change_endpoints(self, changes: Mapping[bytes, int]) -> None:
        """Tell the kernel whose addresses (16 bytes) changed hands, 0 for nobody's.

        Values are indexes into Directory.endpoints. New ones are written before old ones go. A
        connection keeps the indexes it began with, so an address that changes hands does not
        change its past; what its former holder had ends, for the new one may use the same ports.
        """
        moved = self._moved.update(changes)
        self._endpoints.change(changes)
        if moved and self._out is not None and self._attacher is not None:
            self._take_out(partial(of_former_holders, moved), self._out)

    def set_networks(self, networks: Iterable[tuple[bytes, int, int]]) -> None:
        """Tell the kernel whose networks those addresses are in that nobody has by themselves.

        Args:
            networks: first address (16 bytes), length in bits (IPv4 has 96 more than as written),
                Directory.endpoints index. Of several that hold an address the longest counts.
        """
        self._endpoints.set_networks(networks)

    def status(self) -> list[PartStatus]:
        """One line on the programs and where they are, one on drops, on sockets and on DNS."""
        parts = self._drops, self._sockets, self._dns
        return [self._capture_status(), *(part.status() for part in parts)]

    def take_drops(self) -> DropBatch:
        """Drops since the last call, read out of the kernel once a second."""
        return joined([empty_drops(), *self._dropped.take()])

    def take_dns(self) -> DnsBatch:
        """DNS messages since the last call, and queries that nobody answered."""
        return joined([empty_dns(), *self._messages.take()])

    def take_sockets(self) -> SocketBatch:
        """Reports on TCP sockets since the last call, read out of the kernel as connections are."""
        return joined([empty_sockets(), *self._reported.take()])

    def _capture_status(self) -> PartStatus:
        if self._attacher is None:
            return PartStatus("capture", State.OFF, "not started")
        interfaces = len(self._attacher)
        detail = (
            f"{interfaces} interface{'s' * (interfaces != 1)} by {self._attacher.name}, "
            f"{self.live_connections():,} connections"
        )
        if chosen := str(self._filter):
            detail = f"{detail}; {chosen}"
        if failed := self._links.failed:
            return PartStatus("capture", State.DEGRADED, "; ".join([detail, *failed.values()]))
        return PartStatus("capture", State.ON, detail)

    def live_connections(self) -> int:
        """Entries in the kernel's table, as of the last look at the counters."""
        return max(0, self._created - self._ended - self._removed)

    def packets(self) -> Mapping[str, int]:
        """What became of the packets that the programs saw, as of the last look at the counters.

        `counted` at this interface, or `elsewhere`; `non_ip`, `malformed`, `map_full`; `filtered` and
        `unsampled` are of connections that the settings leave out.
        """
        return {fate.name.lower(): count for fate, count in self._packets.items()}

    async def close(self) -> None:
        """Detach, and put what is still in the kernel into the queue that `run` was given.

        Connections that are not over give an ACTIVE row with what no record brought, so that sums
        over rows are exact.
        """
        if self._attacher is not None:
            await self._apart(self._attacher.close)
            self._dropped.put(self._drops.read(self._epoch.now()))
            self._drops.close()
            await self._apart(self._sockets.detach)
            self._reported.put(self._sockets.read(self._epoch.now()))
            self._messages.put(self._dns.read(self._epoch.now(), everything=True))
            if self._out is not None:
                self._emit(self._out)
                epoch = self._epoch.now()
                for entries in self._table.drain():
                    rows = from_entries(entries, epoch, time.time_ns(), ended=False)
                    self._out.put(self._tunnels.resolve(rows))
                    self._removed += len(entries)
            self._count()
            self._sockets.close()
            self._attacher = None
            self._links.close()
            self._ring.close()
            self._table.close()
        await self._abandon()

    async def _abandon(self) -> None:
        self._drops.close()
        self._sockets.close()
        self._dns.close()
        if self._attacher is not None:
            await self._apart(self._attacher.close)
            self._attacher = None
        if self._loaded is not None:
            self._endpoints.stop()
            self._loaded.close()
        elif self._loading is not None:
            self._loading.add_done_callback(_unload)
        self._loading = self._loaded = None
        self._aside.shutdown(wait=False)

    def _emit(self, out: Queue[ConnectionBatch]) -> None:
        for rows in batches(self._ring.read(), self._epoch.now()):
            out.put(self._tunnels.resolve(rows))
        sockets = self._sockets.read(self._epoch.now())
        if len(sockets):
            self._reported.put(sockets)

    async def _sweep(self, out: Queue[ConnectionBatch]) -> None:
        self._count()
        self._dropped.put(self._drops.read(self._epoch.now()))
        live = self.live_connections()
        for entries in self._pace.timed(self._table.expire(live), live):
            self._end(entries, out)
            await asyncio.sleep(0)

    def _take_out(self, chosen: Choice, out: Queue[ConnectionBatch]) -> None:
        for entries in self._table.take_out(chosen):
            self._end(entries, out)

    def _end(self, entries: NDArray[Any], out: Queue[ConnectionBatch]) -> None:
        # What the ring still holds of these connections was written before they were taken.
        self._emit(out)
        rows = from_entries(entries, self._epoch.now(), time.time_ns(), ended=True)
        out.put(self._tunnels.resolve(rows))
        self._removed += len(entries)

    def _count(self) -> None:
        self._sockets.count()
        counters = self._counters.read()
        self._created = int(counters[Counter.CREATED])
        self._ended = int(counters[Counter.ENDED])
        self._packets = {fate: int(counters[fate]) for fate in FATES}
        for reason, counter in _LOST.items():
            self._losses.put(Place.KERNEL, reason, int(counters[counter]))

    async def _apart(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._aside, call, *args)


def _unload(loading: "Future[loader.Loaded]") -> None:
    if not loading.cancelled() and not loading.exception():
        loading.result().close()
