"""User-space cost of a ring record, of a kernel table entry, and of a whole short connection.

Run as root: `python -m tests.bench.bench_kernel`. Loads programs, attaches nothing.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np

from flowd.capture.kernel.rows import batches, from_entries
from flowd.identity.table import IdentityTable
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.flow import empty_flows
from flowd.model.records.request import empty_requests
from flowd.pipeline.identify import identify
from flowd_bpf import libbpf
from flowd_bpf.layout import CONNECTION, EVENT, MARK_ANNOUNCED, SlotState
from flowd_bpf.load import loader
from flowd_bpf.maps.connection_table import IdleTimeouts, KernelConnectionTable
from flowd_bpf.maps.maps import HashMap
from flowd_bpf.maps.ring import Ring
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.bench import userland
from tests.kernel.packets import ethernet, ipv4, segment, tcp

ROUNDS = 7
RING = 4 << 20
ENTRIES = 102_400


def per_second(call: Callable[[], int], before: Callable[[], object]) -> float:
    """Items per second of CPU time, best of the rounds; `call` returns its number of items.

    `before` is not measured.
    """
    best = 0.0
    for _ in range(ROUNDS):
        before()
        began = time.process_time()
        items = call()
        best = max(best, items / (time.process_time() - began))
    return best


def size() -> list[tuple[str, str]]:
    """Instructions processed by the verifier, and the cost of a first packet with cold caches."""
    loaded = loader.load()
    flow = loaded.programs["flowd_in"]
    fresh: list[int] = []
    for number in range(20_000):
        # Flags without SYN: every packet is the first of its connection.
        source = bytes([10, 1, number >> 8, number & 255])
        frame = ethernet(ipv4(segment(), 6))
        fresh.append(libbpf.run_program(flow, frame[:26] + source + frame[30:])[1])
    walked = libbpf.verified_instructions(flow)
    loaded.close()
    return [
        ("first packet of a connection, one cold run", f"{statistics.median(fresh):.0f} ns"),
        ("instructions the verifier walked", f"{walked:,}"),
    ]


def records() -> list[tuple[str, str]]:
    """Records per second: read from the ring, and converted to rows."""
    loaded = loader.load({"RING_BYTES": RING, "ACTIVE_TICKS": 0})
    ring = Ring(loaded.maps["flowd_events"], RING, EVENT)

    def fill() -> None:
        libbpf.run_program(loaded.programs["flowd_in"], tcp(), 25_000)

    alone = per_second(lambda: len(ring.read()), fill)
    rows = per_second(lambda: sum(map(len, batches(ring.read(), 0))), fill)
    ring.close()
    loaded.close()
    return [
        ("records read from the ring", f"{alone / 1e6:.1f} million/s"),
        ("records read and made rows", f"{rows / 1e6:.1f} million/s"),
    ]


def whole_way() -> list[tuple[str, str]]:
    """Records per second from the ring to counters, each with both identities."""
    loaded = loader.load({"RING_BYTES": RING, "ACTIVE_TICKS": 0})
    ring = Ring(loaded.maps["flowd_events"], RING, EVENT)
    directory = Directory()
    table = IdentityTable(directory, node_name="bench", cluster_name="bench")
    exporter = PrometheusExporter(directory, Losses())
    frame = tcp()
    frames = [frame[:26] + bytes([10, 0, n, 1]) + frame[30:] for n in range(50)]

    def fill() -> None:
        for one in frames:
            libbpf.run_program(loaded.programs["flowd_in"], one, 500)

    def take() -> int:
        taken = 0
        for batch in batches(ring.read(), 0):
            rows = identify(batch, table)
            exporter.observe(FlowBatch(rows, empty_requests(), empty_flows()))
            taken += len(rows)
        return taken

    rate = per_second(take, fill)
    ring.close()
    loaded.close()
    return [("records from the ring to identities and counters", f"{rate / 1e6:.1f} million/s")]


def entries() -> list[tuple[str, str]]:
    """Cost of scanning the table, and of evicting entries."""
    loaded = loader.load()
    every = HashMap(loaded.maps["flowd_conns"], np.dtype("u4"), CONNECTION)
    bits = HashMap(loaded.maps["flowd_used_slots"], np.dtype("u4"), np.dtype("u8"))
    ticks = loader.ticks_per_second()
    table = KernelConnectionTable(loaded.maps, loaded.programs, ticks, 131072, IdleTimeouts())
    slots, values = np.arange(ENTRIES, dtype="u4"), np.zeros(ENTRIES, CONNECTION)
    words = np.arange(ENTRIES // 64, dtype="u4")
    values["state"] = SlotState.USED
    values["key"]["protocol"] = 17
    values["key"]["addr"][:, 1, 12:] = slots.astype(">u4").view("u1").reshape(-1, 4)
    values["marks"] = MARK_ANNOUNCED
    values["side"]["counting_if"] = 2

    def fill(idle: float) -> None:
        values["side"]["seen"] = (table.jiffies() - int(idle * ticks)) & 0xFFFFFFFF
        every.update(slots, values)
        bits.update(words, np.full(len(words), -1, "i8").view("u8"))

    def sweep() -> int:
        for over in table.expire(0):
            from_entries(over, 0, 0, ended=True)
        return ENTRIES

    def drain() -> int:
        for kept in table.drain():
            from_entries(kept, 0, 0, ended=False)
        return ENTRIES

    whole = per_second(drain, lambda: fill(0))
    look = per_second(sweep, lambda: fill(0))
    take = per_second(sweep, lambda: fill(3600))
    loaded.close()
    return [
        ("entries drained and made rows", f"{1e6 / whole:.2f} us each"),
        ("entries looked at", f"{1e6 / look:.2f} us each"),
        ("entries over, taken out and made rows", f"{1e6 / take:.2f} us each"),
    ]


def main() -> None:
    """Print the table."""
    began = time.perf_counter()
    loader.load().close()
    took = time.perf_counter() - began
    lines = [("compile and load in the child", f"{took:.2f} s")]
    lines += size() + records() + whole_way() + entries() + userland.figures()
    width = max(len(name) for name, _ in lines)
    for name, figure in lines:
        print(f"{name:{width}}  {figure}")


if __name__ == "__main__":
    main()
