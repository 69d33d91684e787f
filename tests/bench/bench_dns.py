"""Cost of DNS capture: each packet in the kernel, and each message in user space.

Run as root: `python -m tests.bench.bench_dns`. Loads programs, attaches nothing.
"""

import statistics
import struct
import time
from collections.abc import Callable

import dns.message
import dns.rrset

from flowd.capture.dns.messages import decode
from flowd.capture.dns.reader import DnsReader
from flowd.model.losses import Losses
from flowd_bpf import libbpf
from flowd_bpf.layout import DNS_LONG, DNS_SHORT
from flowd_bpf.load import loader
from flowd_bpf.maps.ring import Ring
from tests.bench.bench_packets import RUNS, empty_program
from tests.kernel.packets import ethernet, ipv4, tcp

ROUNDS = 7
RING = 1 << 20
FITS = 3000
NAME = "orders.shop.svc.cluster.local."


def messages() -> tuple[bytes, bytes]:
    """A query and a response of a common size."""
    query = dns.message.make_query(NAME, "A", use_edns=0)
    response = dns.message.make_response(query)
    response.answer += [
        dns.rrset.from_text(NAME, 30, "IN", "CNAME", "orders.cdn.example."),
        dns.rrset.from_text("orders.cdn.example.", 20, "IN", "A", "192.0.2.1", "192.0.2.2"),
    ]
    return query.to_wire(), response.to_wire()


def packet(payload: bytes, *, reply: bool = False) -> bytes:
    """A frame with a datagram to or from the server."""
    ports = (53, 5000) if reply else (5000, 53)
    datagram = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    return ethernet(ipv4(datagram, 17, reply=reply))


def microseconds(call: Callable[[], object], runs: int = 400) -> float:
    """Best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(runs):
            call()
        best = min(best, (time.perf_counter() - began) / runs)
    return best * 1e6


def nanoseconds(program: int, frame: bytes) -> float:
    """Median of several rounds."""
    return statistics.median(libbpf.run_program(program, frame, RUNS)[1] for _ in range(ROUNDS))


def kernel(query: bytes) -> list[tuple[str, str]]:
    """Nanoseconds for each packet, with and without DNS capture."""
    floor = nanoseconds(empty_program(), tcp())
    without = loader.load()
    with_dns = loader.load({"DNS_PORT": 53, "DNS_RING_BYTES": RING})
    names = {"flowd_dns_short": DNS_SHORT, "flowd_dns_long": DNS_LONG}
    rings = [Ring(with_dns.maps[name], RING, dtype) for name, dtype in names.items()]
    program = with_dns.programs["flowd_in"]
    plain, other = (
        nanoseconds(loaded.programs["flowd_in"], tcp()) for loaded in (without, with_dns)
    )
    asked = packet(query)
    unread = nanoseconds(without.programs["flowd_in"], asked)
    sizes: list[float] = []
    for frame in (asked, packet(bytes(1232))):
        rounds: list[int] = []
        for _ in range(ROUNDS):
            for ring in rings:
                ring.read()
            runs = FITS if frame is asked else 600
            rounds.append(libbpf.run_program(program, frame, runs)[1])
        sizes.append(statistics.median(rounds))
    grown = [libbpf.verified_instructions(one.programs["flowd_in"]) for one in (without, with_dns)]
    for ring in rings:
        ring.close()
    without.close()
    with_dns.close()
    return [
        ("empty program", f"{floor:.0f} ns"),
        ("packet of another port, DNS off", f"{plain:.0f} ns"),
        ("packet of another port, DNS on", f"{other:.0f} ns"),
        (f"DNS query, {len(query)} bytes, DNS off", f"{unread:.0f} ns"),
        (f"DNS query, {len(query)} bytes, DNS on", f"{sizes[0]:.0f} ns"),
        ("DNS datagram, 1232 bytes, DNS on", f"{sizes[1]:.0f} ns"),
        ("instructions the verifier walked", f"{grown[0]:,}; with DNS {grown[1]:,}"),
    ]


def user(query: bytes, response: bytes) -> list[tuple[str, str]]:
    """Microseconds for each message in user space, compared with dnspython."""
    lines: list[tuple[str, str]] = []
    for name, wire in (("query", query), ("response", response)):
        own, other = (
            microseconds(lambda read=read, wire=wire: read(wire))
            for read in (decode, dns.message.from_wire)
        )
        lines.append((f"{name} decoded", f"{own:.1f} us; by dnspython {other:.0f} us"))
    loaded = loader.load({"DNS_PORT": 53, "DNS_RING_BYTES": RING})
    ring = Ring(loaded.maps["flowd_dns_short"], RING, DNS_SHORT)
    reader, program = DnsReader(Losses()), loaded.programs["flowd_in"]
    rows, spent = 0, 0.0
    for _ in range(ROUNDS):
        for frame in (packet(query), packet(response, reply=True)) * 20:
            libbpf.run_program(program, frame, FITS // 40)
        began = time.perf_counter()
        rows += len(reader.read([ring.read()], time.monotonic_ns(), 0))
        spent += time.perf_counter() - began
    ring.close()
    loaded.close()
    lines.append(("messages out of the ring, matched, as rows", f"{rows / spent:,.0f}/s"))
    return lines


def main() -> None:
    """Print the table."""
    query, response = messages()
    lines = kernel(query) + user(query, response)
    width = max(len(name) for name, _ in lines)
    for name, figure in lines:
        print(f"{name:{width}}  {figure}")


if __name__ == "__main__":
    main()
