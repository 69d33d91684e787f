"""Cost of a packet in the kernel programs, relative to an empty program in the same run.

    python -m tests.bench.bench_packets [ROUNDS]

BPF_PROG_TEST_RUN, as root; attaches nothing. Every round runs each case and the empty program once;
a figure is the median of the differences.
"""

import ctypes
import os
import statistics
import sys
import threading
from collections.abc import Callable, Mapping

import numpy as np

from flowd.capture.kernel.filter import CaptureFilter
from flowd_bpf import libbpf
from flowd_bpf.layout import EVENT
from flowd_bpf.load import loader
from flowd_bpf.maps.ring import Ring
from tests.kernel.frames import ether, ip, outer, tagged, vxlan
from tests.kernel.frames import tcp as made_tcp
from tests.kernel.packets import ethernet, ipv4, ipv6, segment, tcp
from tests.kernel.programs import clear

RUNS = 300_000
SHORT = 10_000  # runs between two reads of the ring, for cases that write records
CHURN = 2_000  # connections
RING = 4 << 20
SCHED_CLS = 3
SYN_RST = 0x06  # begins a connection, and ends the previous one

Case = Callable[[], float]

EVERY_OPTION = {
    **CaptureFilter(["!203.0.113.0/24", "0.0.0.0/0"], ["1-65535", "!9"], ["tcp", "udp"]).defines(),
    "TUNNEL_3": 0x217C2,
}


def empty_program() -> int:
    """A program that only returns TCX_NEXT."""
    code = bytes([0xB7, 0, 0, 0]) + (0xFFFFFFFF).to_bytes(4, "little")
    code += bytes([0x95, 0, 0, 0, 0, 0, 0, 0])
    load = ctypes.CDLL(libbpf.LIBRARY).bpf_prog_load
    fd: int = load(SCHED_CLS, b"bench_empty", b"GPL", code, ctypes.c_size_t(2), None)
    assert fd >= 0
    return fd


def churn(loaded: loader.LoadedPrograms, empty: int) -> dict[str, float]:
    """Short connections, each packet at both hooks in turn: mean ns over the empty program.

    A run at a time, so that nothing but the last few packets is in the caches.
    """
    client = [(0x02, False), (0x10, False), (0x18, False), (0x10, False), (0x14, False)]
    server = [(0x12, True), (0x10, True), (0x18, True)]
    life = [client[0], server[0], *client[1:3], *server[1:], *client[3:]]
    frames = [tcp(flags, reply=reply) for flags, reply in life]
    spent = np.zeros((CHURN, len(life), 3))
    programs = empty, loaded.programs["flowd_in"], loaded.programs["flowd_out"]
    for number in range(CHURN):
        port = (1024 + number).to_bytes(2, "big")
        for packet, (frame, (_, reply)) in enumerate(zip(frames, life, strict=True)):
            at = 36 if reply else 34
            sent = frame[:at] + port + frame[at + 2 :]
            for hook, program in enumerate(programs):
                spent[number, packet, hook] = libbpf.run_program(program, sent)[1]
    floor, first, second = np.median(spent, axis=0).mean(axis=0)
    return {
        "short connections, first hook": first - floor,
        "short connections, second hook": second - floor,
        "short connections, both": (first + second) / 2 - floor,
    }


class Under:
    """Programs with settings, and the cases to run on them."""

    def __init__(self, settings: Mapping[str, int], only: CaptureFilter | None = None) -> None:
        self.loaded = loader.load({"RING_BYTES": RING, **settings})
        if only:
            only.fill(self.loaded.maps)
        self._ring = Ring(self.loaded.maps["flowd_events"], RING, EVENT)

    def known(self, packet: bytes, program: str = "flowd_in") -> Case:
        """A packet of a connection that exists from the second run on."""
        fd = self.loaded.programs[program]
        return lambda: libbpf.run_program(fd, packet, RUNS)[1]

    def recorded(self, packet: bytes) -> Case:
        """A packet that writes records in every run, or until the last run."""
        fd = self.loaded.programs["flowd_in"]

        def run() -> float:
            self._ring.read()
            return libbpf.run_program(fd, packet, SHORT)[1]

        return run

    def two_at_once(self, packet: bytes) -> Case:
        """The same packet on two CPUs at once."""
        fd = self.loaded.programs["flowd_in"]

        def run() -> float:
            found: list[int] = []

            def work(cpu: int) -> None:
                os.sched_setaffinity(0, {cpu})
                found.append(libbpf.run_program(fd, packet, RUNS)[1])

            cpus = sorted(os.sched_getaffinity(0))[:2]
            threads = [threading.Thread(target=work, args=(cpu,)) for cpu in cpus]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return statistics.mean(found)

        return run

    def forget(self) -> None:
        """Empty the table of connections and the ring."""
        clear(self.loaded.maps)
        self._ring.read()

    def close(self) -> None:
        self._ring.close()
        self.loaded.close()


def full() -> Under:
    """Programs with a full connection table."""
    made = Under({"MAX_CONNECTIONS": 1024})
    frame = ethernet(ipv4(segment(), 6))
    for number in range(2048):
        source = bytes([10, 9, number >> 8, number & 255])
        libbpf.run_program(made.loaded.programs["flowd_in"], frame[:26] + source + frame[30:])
    return made


def cases(made: Mapping[str, Under]) -> dict[str, Case]:
    """The cases by name."""
    six = ethernet(ipv6(segment(), 6), 0x86DD)
    plain = made["plain"]
    within = bytes(ether() / outer() / vxlan(ether() / ip() / made_tcp()))
    return {
        "known connection, IPv4": plain.known(tcp()),
        "known connection, IPv6": plain.known(six),
        "known connection, a VLAN tag": plain.known(ethernet(ipv4(segment(), 6), tag=7)),
        "known connection, two tags": plain.known(bytes(tagged("QinQ", ip(), made_tcp()))),
        "known connection, in VXLAN": plain.known(within),
        "known connection, every option on": made["options"].known(tcp()),
        "known connection, IPv6, every option on": made["options"].known(six),
        "known connection, on two CPUs at once": plain.two_at_once(tcp()),
        "counted at another interface": plain.known(tcp(), "flowd_out"),
        "a record at every packet": made["always"].recorded(tcp()),
        "END of a connection and NEW of the next": made["lives"].recorded(tcp(SYN_RST)),
        "new connection, table full": made["full"].known(tcp()),
        "left out by the filter": made["filtered"].known(tcp()),
        "not in the sample": made["sampled"].known(tcp()),
    }


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    wanted = CaptureFilter(["!203.0.113.0/24", "0.0.0.0/0", "::/0"], ["1-65535"], ["tcp", "udp"])
    unwanted = CaptureFilter(["192.0.2.0/24"])
    made = {
        "plain": Under({}),
        "options": Under(EVERY_OPTION, wanted),
        "always": Under({"ACTIVE_TICKS": 0}),
        "lives": Under({"GRACE_TICKS": 0}),
        "churn": Under({}),
        "full": full(),
        "filtered": Under(unwanted.defines(), unwanted),
        "sampled": Under({"SAMPLING": 65536}),
    }
    empty = empty_program()
    found: dict[str, list[float]] = {}
    floor: list[float] = []
    for _ in range(rounds):
        for name, case in cases(made).items():
            floor.append(libbpf.run_program(empty, tcp(), RUNS)[1])
            found.setdefault(name, []).append(case() - floor[-1])
        for name, over in churn(made["churn"].loaded, empty).items():
            found.setdefault(name, []).append(over)
        made["churn"].forget()
    for under in made.values():
        under.close()
    print("| packet | ns over the empty program |\n| --- | --- |")
    for name, figures in found.items():
        print(f"| {name} | {statistics.median(figures):.0f} |")
    print(f"| (the empty program) | {statistics.median(floor):.0f} |")


if __name__ == "__main__":
    main()
