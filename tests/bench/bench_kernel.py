"""What a packet costs in the kernel, and a record or an entry in user space.

Run as root: `python -m tests.bench.bench_kernel`. Loads programs, attaches nothing.
"""

import ctypes
import statistics
import time
from collections.abc import Callable

import numpy as np

from flowd.capture.kernel_rows import from_entries, from_events
from flowd_bpf import libbpf, loader
from flowd_bpf.layout import CONNECTION, EVENT, KEY, MARK_ANNOUNCED
from flowd_bpf.maps import HashMap
from flowd_bpf.ring import Ring
from flowd_bpf.table import ConnectionTable, Limits
from tests.kernel.packets import ethernet, ipv4, ipv6, segment, tcp

RUNS = 500_000
ROUNDS = 7
RING = 4 << 20
ENTRIES = 100_000
SCHED_CLS = 3


def empty_program() -> int:
    """A program that returns TCX_NEXT and does nothing else."""
    code = bytes([0xB7, 0, 0, 0]) + (0xFFFFFFFF).to_bytes(4, "little")
    code += bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
    load = ctypes.CDLL(libbpf.LIBRARY).bpf_prog_load
    fd: int = load(SCHED_CLS, b"bench_empty", b"GPL", code, ctypes.c_size_t(2), None)
    assert fd >= 0
    return fd


def nanoseconds(program: int, packet: bytes) -> float:
    """Median of some rounds, ns a run."""
    rounds = [libbpf.run_program(program, packet, RUNS)[1] for _ in range(ROUNDS)]
    return statistics.median(rounds)


def per_second(call: Callable[[], int], before: Callable[[], object]) -> float:
    """Items a second of call, which returns how many it took; `before` is not measured."""
    items, spent = 0, 0.0
    for _ in range(ROUNDS):
        before()
        began = time.perf_counter()
        items += call()
        spent += time.perf_counter() - began
    return items / spent


def packets() -> list[tuple[str, str]]:
    """ns a packet of a known connection, and of new ones."""
    empty = empty_program()
    loaded = loader.load({"RING_BYTES": RING})
    flow = loaded.programs["flowd_in"]
    floor = nanoseconds(empty, tcp())
    known = nanoseconds(flow, tcp())
    known6 = nanoseconds(flow, ethernet(ipv6(segment(), 6), 0x86DD))
    other = nanoseconds(loaded.programs["flowd_out"], tcp())
    fresh: list[int] = []
    for number in range(20_000):
        # Flags without SYN: every packet is the first of its connection.
        source = bytes([10, 1, number >> 8, number & 255])
        frame = ethernet(ipv4(segment(), 6))
        fresh.append(libbpf.run_program(flow, frame[:26] + source + frame[30:])[1])
    size = libbpf.verified_instructions(flow)
    loaded.close()
    always = loader.load({"RING_BYTES": RING, "ACTIVE_TICKS": 0})
    ring = Ring(always.maps["flowd_events"], RING, EVENT)
    record: list[int] = []
    for _ in range(ROUNDS):
        record.append(libbpf.run_program(always.programs["flowd_in"], tcp(), 20_000)[1])
        ring.read()
    ring.close()
    always.close()
    return [
        ("empty program", f"{floor:.0f} ns"),
        ("packet of a known connection, IPv4", f"{known:.0f} ns ({known / floor:.1f} x empty)"),
        ("packet of a known connection, IPv6", f"{known6:.0f} ns"),
        ("packet counted at another interface", f"{other:.0f} ns"),
        ("packet that gives a record", f"{statistics.median(record):.0f} ns"),
        ("first packet of a connection, one cold run", f"{statistics.median(fresh):.0f} ns"),
        ("instructions the verifier walked", f"{size:,}"),
    ]


def records() -> list[tuple[str, str]]:
    """Records a second out of the ring, and as rows."""
    loaded = loader.load({"RING_BYTES": RING, "ACTIVE_TICKS": 0})
    ring = Ring(loaded.maps["flowd_events"], RING, EVENT)

    def fill() -> None:
        libbpf.run_program(loaded.programs["flowd_in"], tcp(), 25_000)

    alone = per_second(lambda: len(ring.read()), fill)
    rows = per_second(lambda: len(from_events(ring.read(), 0)), fill)
    ring.close()
    loaded.close()
    return [
        ("records read from the ring", f"{alone / 1e6:.1f} million/s"),
        ("records read and made rows", f"{rows / 1e6:.1f} million/s"),
    ]


def entries() -> list[tuple[str, str]]:
    """What looking through the table costs, and taking entries out."""
    loaded = loader.load()
    fd = loaded.maps["flowd_conns"]
    every = HashMap(fd, KEY, CONNECTION)
    clock, ticks = loaded.programs["flowd_clock"], loader.ticks_per_second()
    table = ConnectionTable(fd, clock, ticks, 131072, Limits())
    keys, values = np.zeros(ENTRIES, KEY), np.zeros(ENTRIES, CONNECTION)
    keys["protocol"] = 17
    keys["addr"][:, 1, 12:] = np.arange(ENTRIES, dtype=">u4").view("u1").reshape(-1, 4)
    values["marks"] = MARK_ANNOUNCED
    values["side"]["owner"] = 2

    def fill(idle: float) -> None:
        values["side"]["seen"] = (table.jiffies() - int(idle * ticks)) & 0xFFFFFFFF
        every.update(keys, values)

    def sweep() -> int:
        for expired, states in table.expire(0):
            from_entries(expired, states, 0, 0, ended=True)
        return ENTRIES

    look = per_second(sweep, lambda: fill(0))
    take = per_second(sweep, lambda: fill(3600))
    loaded.close()
    return [
        ("entries looked at", f"{1e6 / look:.2f} us each"),
        ("entries over, taken out and made rows", f"{1e6 / take:.2f} us each"),
    ]


def main() -> None:
    """Print the table."""
    began = time.perf_counter()
    loader.load().close()
    took = time.perf_counter() - began
    lines = [("compile and load in the child", f"{took:.2f} s")]
    lines += packets() + records() + entries()
    width = max(len(name) for name, _ in lines)
    for name, figure in lines:
        print(f"{name:{width}}  {figure}")


if __name__ == "__main__":
    main()
