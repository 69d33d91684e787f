"""Capture connections in the kernel: attach programs, read rings, sweep the connection table."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from numpy.typing import NDArray

from flowd.capture.dns.source import KernelDns
from flowd.capture.kernel.address_reuse import AddressReuse, of_former_owners
from flowd.capture.kernel.clock import UnixEpoch
from flowd.capture.kernel.drops import KernelDrops
from flowd.capture.kernel.endpoints import KernelEndpoints
from flowd.capture.kernel.filter import CaptureFilter
from flowd.capture.kernel.interfaces import KernelInterfaces
from flowd.capture.kernel.polling import RingPoller, SweepScheduler
from flowd.capture.kernel.rows import batches, from_entries
from flowd.capture.kernel.sockets import KernelSockets
from flowd.capture.kernel.tunnels import TunnelNames, port_settings
from flowd.errors import UnsupportedError
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.dns import DnsBatch, empty_dns
from flowd.model.records.drop import DropBatch, empty_drops
from flowd.model.records.rows import concat_rows
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Queue
from flowd_bpf.attach.attacher import AttachMode, choose_attacher
from flowd_bpf.errors import BpfError
from flowd_bpf.layout import EVENT, PACKET_OUTCOMES, Counter
from flowd_bpf.load import loader
from flowd_bpf.maps.connection_table import IdleTimeouts, KernelConnectionTable, RowSelector
from flowd_bpf.maps.maps import PerCpuCounters
from flowd_bpf.maps.ring import Ring

if TYPE_CHECKING:
    from flowd_bpf.attach.programs import Attacher

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
    """Captures every connection that crosses this network namespace's interfaces.

    Args:
        directory: `interfaces` is kept current, and `tunnels` grows.
        losses: under Place.KERNEL `ring_full` (records deferred to the next one), `map_full` and
            `malformed` (packets), `endpoints_full` (addresses and networks that found the map
            full), `fragment_unknown` (fragments that arrived before the first one of their datagram
            and count without ports), `tunnel_unnamed` (connections whose tunnel found the map
            full), `dns_ring_full` (DNS payloads).
        interfaces: globs; `!glob` excludes, `lo` only when named.
        connections, endpoints: capacity of the kernel's maps.
        hash_seed: seed of the kernel's table, 32 bits; random if not given.
        ring_bytes: size of the ring, a power of two.
        active_seconds: interval of records of a connection with packets.
        detail_records: most records a second of TCP flags that are new to a connection, and of
            newly established sockets; the others are reported by the next record.
        attach: the kind of attachment; `auto` takes tcx where the kernel has it.
        head: run before other tcx programs.
        limits: when a connection has ended.
        drops: also count dropped packets, in all network namespaces of this machine.
        tunnel_ports: UDP ports of tunnels, as in `vxlan:4789`; the inner connection is captured.
        sockets: also follow TCP sockets, in all cgroups and network namespaces.
        only: selects the connections.
        dns, dns_ports: also read DNS messages from and to these ports.

    Raises:
        UsageError: invalid tunnel ports.
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
        limits: IdleTimeouts | None = None,
        drops: bool = False,
        tunnel_ports: Sequence[str] = ("vxlan:4789", "vxlan:8472", "geneve:6081"),
        sockets: bool = False,
        only: CaptureFilter | None = None,
        dns: bool = False,
        dns_ports: Sequence[int] = (53,),
    ) -> None:
        self._directory = directory
        self._losses = losses
        self._globs = tuple(interfaces)
        detail_per_cpu = -(-detail_records // (os.cpu_count() or 1))
        self._settings = {
            "DETAIL_RECORDS": detail_per_cpu,
            "MAX_CONNECTIONS": connections,
            "HASH_SEED": secrets.randbits(32) if hash_seed is None else hash_seed,
            "MAX_ENDPOINTS": endpoints,
            "RING_BYTES": ring_bytes,
            "ACTIVE_TICKS": max(1, round(active_seconds * loader.ticks_per_second())),
            **port_settings(tunnel_ports),
        }
        self._filter = only or CaptureFilter()
        self._mode: AttachMode = attach
        self._head = head
        self._limits = limits or IdleTimeouts()
        self._drops = KernelDrops(directory, losses, wanted=drops)
        self._dns = KernelDns(losses, ports=dns_ports, wanted=dns)
        self._dns_queue: Queue[DnsBatch] = Queue("dns", DNS_ROWS, losses)
        self._drop_queue: Queue[DropBatch] = Queue("drops", DROP_ROWS, losses)
        self._sockets = KernelSockets(
            directory,
            losses,
            wanted=sockets,
            active_seconds=active_seconds,
            detail_records=detail_per_cpu,
        )
        self._socket_queue: Queue[SocketBatch] = Queue("sockets", SOCKET_ROWS, losses)
        self._endpoints = KernelEndpoints(losses)
        self._address_reuse = AddressReuse(directory)
        self._init_state()

    def _init_state(self) -> None:
        # Attaching blocks, and pyroute2 runs an event loop of its own.
        self._attach_thread = ThreadPoolExecutor(1, "attach")
        self._loading: Future[loader.LoadedPrograms] | None = None
        self._loaded: loader.LoadedPrograms | None = None
        self._attacher: Attacher | None = None
        self._out: Queue[ConnectionBatch] | None = None
        self._epoch = UnixEpoch()
        self._sweeps = SweepScheduler()
        self._created = self._ended = self._removed = 0
        self._packets = dict.fromkeys(PACKET_OUTCOMES, 0)

    def begin(self) -> None:
        """Compile and load the programs in a child process, once; `start` waits for it."""
        self._loading = self._loading or self._attach_thread.submit(self._load)

    def _load(self) -> loader.LoadedPrograms:
        settings = {**self._settings, **self._filter.defines()}
        return self._dns.load(settings, self._drops.unit(), self._sockets.unit())

    async def start(self) -> None:
        """Wait for the programs to load, and attach them to the present interfaces.

        Raises:
            UnsupportedError: the kernel or the privileges do not suffice; the hint has details.
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
            self._table = KernelConnectionTable(
                maps,
                programs,
                loader.ticks_per_second(),
                self._settings["MAX_CONNECTIONS"],
                self._limits,
            )
            self._tunnels = TunnelNames(self._directory, maps["flowd_tunnels"])
            attach = partial(choose_attacher, programs, self._mode, head=self._head)
            self._attacher = await self._in_attach_thread(attach)
            self._links = KernelInterfaces(
                self._directory, self._globs, self._attacher, self._in_attach_thread
            )
            self._dns.start(self._loaded)
        except BpfError as error:
            await self._release()
            raise UnsupportedError(error.message, error.hint) from None
        except OSError as error:
            await self._release()
            raise UnsupportedError(f"cannot capture in the kernel: {error}") from None
        self._drops.start(self._loaded)
        await self._in_attach_thread(self._sockets.start, self._loaded)
        self._count()
        await self._links.follow()
        log.info("capture started", extra={"interfaces": len(self._attacher)})

    async def run(self, out: Queue[ConnectionBatch]) -> None:
        """Put rows into `out`, five times a second or earlier when a ring fills, until cancelled.

        Raises:
            UnsupportedError: the kernel refuses an operation.
        """
        self._out = out
        poller = RingPoller(fd for fd in (self._ring.fd, self._sockets.fd) if fd is not None)
        links = asyncio.create_task(self._links.watch())
        try:
            while True:
                await poller.wait()
                self._emit(out)
                self._dns_queue.put(self._dns.read(self._epoch.now()))
                if links.done():
                    links.result()
                if self._sweeps.due():
                    await self._sweep(out)
        except BpfError as error:
            raise UnsupportedError(error.message, error.hint) from None
        except OSError as error:
            raise UnsupportedError(f"cannot follow the interfaces: {error}") from None
        finally:
            poller.close()
            links.cancel()
            await asyncio.wait([links])

    def change_endpoints(self, changes: Mapping[bytes, int]) -> None:
        """Write changed endpoints of addresses to the kernel, new ones before old ones are deleted.

        A connection keeps the endpoints it began with, so reuse of an address does not relabel past
        traffic. Connections of the former owner end, because the new owner may use the same ports.

        Args:
            changes: Directory.endpoints index by address (16 bytes); 0 removes the address.
        """
        reassigned = self._address_reuse.update(changes)
        self._endpoints.change(changes)
        if reassigned and self._out is not None and self._attacher is not None:
            self._evict(partial(of_former_owners, reassigned), self._out)

    def set_networks(self, networks: Iterable[tuple[bytes, int, int]]) -> None:
        """Write the networks whose endpoint applies to addresses without an endpoint of their own.

        Args:
            networks: first address (16 bytes), prefix length of 128 bits (IPv4 has 96 more than
                written), Directory.endpoints index. The longest matching prefix decides.
        """
        self._endpoints.set_networks(networks)

    def status(self) -> list[PartStatus]:
        """One status each of the programs and their interfaces, drops, sockets, and DNS."""
        parts = self._drops, self._sockets, self._dns
        return [self._capture_status(), *(part.status() for part in parts)]

    def take_drops(self) -> DropBatch:
        """DROP rows since the last call; the kernel is read once a second."""
        return concat_rows([empty_drops(), *self._drop_queue.take()])

    def take_dns(self) -> DnsBatch:
        """DNS rows since the last call: messages, and queries that timed out."""
        return concat_rows([empty_dns(), *self._dns_queue.take()])

    def take_sockets(self) -> SocketBatch:
        """SOCKET rows since the last call; the kernel is read as often as for connections."""
        return concat_rows([empty_sockets(), *self._socket_queue.take()])

    def _capture_status(self) -> PartStatus:
        if self._attacher is None:
            return PartStatus("capture", State.OFF, "not started")
        interfaces = len(self._attacher)
        detail = (
            f"{interfaces} interface{'s' * (interfaces != 1)} by {self._attacher.name}, "
            f"{self.live_connections():,} connections"
        )
        if filtered := str(self._filter):
            detail = f"{detail}; {filtered}"
        if failed := self._links.failed:
            return PartStatus("capture", State.DEGRADED, "; ".join([detail, *failed.values()]))
        return PartStatus("capture", State.ON, detail)

    def live_connections(self) -> int:
        """Entries in the kernel's table, as of the last read of the counters."""
        return max(0, self._created - self._ended - self._removed)

    def packets(self) -> Mapping[str, int]:
        """Packets seen by the programs, by outcome, as of the last read of the counters.

        `counted` at this interface or `elsewhere`; `non_ip`, `malformed`, `map_full`; `filtered`
        and `unsampled` belong to connections that the settings exclude.
        """
        return {PACKET_OUTCOMES[outcome]: count for outcome, count in self._packets.items()}

    async def close(self) -> None:
        """Detach, and put the remaining rows into the queue of `run`.

        Open connections give an ACTIVE row with their unreported counters, so that sums over rows
        are exact.
        """
        if self._attacher is not None:
            await self._in_attach_thread(self._attacher.close)
            self._drop_queue.put(self._drops.read(self._epoch.now()))
            self._drops.close()
            await self._in_attach_thread(self._sockets.detach)
            self._socket_queue.put(self._sockets.read(self._epoch.now()))
            self._dns_queue.put(self._dns.read(self._epoch.now(), everything=True))
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
        await self._release()

    async def _release(self) -> None:
        self._drops.close()
        self._sockets.close()
        self._dns.close()
        if self._attacher is not None:
            await self._in_attach_thread(self._attacher.close)
            self._attacher = None
        if self._loaded is not None:
            self._endpoints.stop()
            self._loaded.close()
        elif self._loading is not None:
            self._loading.add_done_callback(_unload)
        self._loading = self._loaded = None
        self._attach_thread.shutdown(wait=False)

    def _emit(self, out: Queue[ConnectionBatch]) -> None:
        for rows in batches(self._ring.read(), self._epoch.now()):
            out.put(self._tunnels.resolve(rows))
        sockets = self._sockets.read(self._epoch.now())
        if len(sockets):
            self._socket_queue.put(sockets)

    async def _sweep(self, out: Queue[ConnectionBatch]) -> None:
        self._count()
        self._drop_queue.put(self._drops.read(self._epoch.now()))
        live = self.live_connections()
        for entries in self._sweeps.timed(self._table.expire(live), live):
            self._emit_ended(entries, out)
            await asyncio.sleep(0)

    def _evict(self, selector: RowSelector, out: Queue[ConnectionBatch]) -> None:
        for entries in self._table.evict(selector):
            self._emit_ended(entries, out)

    def _emit_ended(self, entries: NDArray[Any], out: Queue[ConnectionBatch]) -> None:
        # The ring may hold records of these connections, written before the eviction
        self._emit(out)
        rows = from_entries(entries, self._epoch.now(), time.time_ns(), ended=True)
        out.put(self._tunnels.resolve(rows))
        self._removed += len(entries)

    def _count(self) -> None:
        self._sockets.update_losses()
        counters = self._counters.read()
        self._created = int(counters[Counter.CREATED])
        self._ended = int(counters[Counter.ENDED])
        self._packets = {outcome: int(counters[outcome]) for outcome in PACKET_OUTCOMES}
        for reason, counter in _LOST.items():
            self._losses.set_total(Place.KERNEL, reason, int(counters[counter]))

    async def _in_attach_thread(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._attach_thread, call, *args)


def _unload(loading: "Future[loader.LoadedPrograms]") -> None:
    if not loading.cancelled() and not loading.exception():
        loading.result().close()
