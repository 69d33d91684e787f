"""Write docs/accuracy.md: flowd's figures beside the kernel's own counters, over real devices.

    python -m tests.kernel.accuracy_page                       # this kernel's table
    python -m tests.kernel.accuracy_page --second-kernel       # that of a Debian 6.1 kernel, emulated
    python -m tests.kernel.accuracy_page --second-kernel IPVS  # one of its paths

Needs root. Tables that a run does not measure stay unchanged. Fails when a difference is not 0.
"""

import asyncio
import platform
import shlex
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

import pytest

from flowd_bpf.load import loader
from flowd_bpf.load.bcc import find_bcc
from tests.kernel import second_kernel
from tests.kernel.accuracy import Compared, Difference, measure, plan
from tests.kernel.counted import Figure
from tests.kernel.elsewhere import stand_in
from tests.kernel.paths import IPV4
from tests.kernel.paths_all import SELDOM, USUAL, Makes

PAGE = ROOT / "docs" / "accuracy.md"
LINE = "flowd-accuracy="
CONNECTIONS, SIZE = 20, 1_000_000
CONNECTIONS_EMULATED, SIZE_EMULATED = 3, 50_000
PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMP", 132: "SCTP"}
COLUMNS = (
    *("path", "protocol", "GSO", "flowd", "/proc/net/dev", "difference"),
    *("`ss -i` or sender", "difference", "conntrack", "difference"),
)

HEAD = """# Accuracy

What flowd counts, beside what the kernel itself says of the same traffic: written by
`make accuracy`, which makes the traffic over real devices in network namespaces; the same code with
less traffic is a test (`tests/kernel/test_accuracy.py`). A cell is packets / bytes / connections,
both directions added up. `/proc/net/dev` has no connections, and `ss -i` counts payload, as does the
sender, who stands in for it with UDP and ICMP.

A difference is flowd less that source, the two directions' amounts added up, so errors cannot cancel
out: 0 is exact. It is taken on the wire. `/proc/net/dev` counts a large packet of GSO once and
without the headers that each of its segments gets; conntrack sees no Ethernet header and no tunnel
either; `ss -i` leaves out all headers. What a source leaves out is known and added before comparing.
Where a source has merged packets its number of packets says nothing (`-`); that of `ss -i` does.

`before NAT` and `after NAT` are the two sides of a translated connection, which flowd shows as two
connections that know of each other. In a tunnel the packets from the other node count where they
come in, with the tunnel's headers; wireguard's are encrypted there and count at its own device,
whose counters are those of what was encrypted and cannot be compared.

What a kernel has no device for is tested there by crafted frames (`tests/kernel/test_frames.py`,
`tests/kernel/test_tunnels.py`), and by real devices on a second kernel.
"""

TITLES = {False: "## This kernel", True: "## A second kernel, for devices that not every one has"}


def rows(compared: list[Compared]) -> Iterator[str]:
    """Lines of the table; one line has both directions."""
    for _, ways in groupby(compared, key=lambda one: (one.path, one.leg, one.gso, one.traffic)):
        both = list(ways)
        first = both[0]
        version = "IPv4" if first.traffic.family == IPV4 else "IPv6"
        cells = [
            ", ".join(filter(None, (first.path, first.leg))),
            f"{PROTOCOLS[first.traffic.protocol]} {version}",
            "on" if first.gso else "off",
            _figure([one.flowd for one in both]),
        ]
        for names in (("/proc/net/dev",), ("ss -i", "sender"), ("conntrack",)):
            told = [pair for one in both for name, pair in one.sources.items() if name in names]
            whole = len(told) == len(both)
            cells.append(_figure([figure for figure, _ in told]) if whole else "-")
            cells.append(_difference([difference for _, difference in told]) if whole else "-")
        yield f"| {' | '.join(cells)} |"


def _figure(ways: list[Figure]) -> str:
    packets, size = (sum(each or 0 for each in one) for one in _columns(ways)[:2])
    connections = ways[0].connections
    told = (packets, size) if connections is None else (packets, size, connections)
    return " / ".join(f"{number:,}" for number in told)


def _difference(ways: list[Difference]) -> str:
    told: list[str] = []
    for each in _columns(ways):
        known = [abs(number) for number in each if number is not None]
        told.append(f"{sum(known):,}" if len(known) == len(ways) else "-")
    return " / ".join(told)


def _columns(ways: list[Figure] | list[Difference]) -> list[list[int | None]]:
    return [
        [one.packets for one in ways],
        [one.bytes for one in ways],
        [one.connections for one in ways],
    ]


def table(kinds: dict[str, Makes], connections: int, size: int) -> Iterator[str]:
    """The table of every path that this kernel supports, with GSO off and on."""
    for name, makes in kinds.items():
        for gso in (False, True):
            try:
                with makes(gso=gso) as path:
                    compared = asyncio.run(measure(path, plan(path, connections, size)))
            except pytest.skip.Exception as error:
                print(f"==> {name}: {error}", file=sys.stderr, flush=True)
                break
            yield from rows(compared)


def right(line: str) -> bool:
    """Whether all differences of a line are 0."""
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    numbers = [number for cell in cells[5::2] for number in cell.split(" / ")]
    return set(numbers) <= {"0", "-"}


def write(lines: list[str], release: str, *, second: bool) -> None:
    """Write lines into one kernel's table of the page; its lines of other paths stay."""
    page = PAGE.read_text() if PAGE.exists() else ""
    other, before = (
        page.partition(TITLES[which])[2].partition("\n## ")[0].strip()
        for which in (not second, second)
    )
    paths = {_path(line) for line in lines}
    old = [line for line in before.splitlines()[4:] if _path(line) not in paths]
    head = f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"
    mine = f"Linux {release}.\n\n{head}\n" + "\n".join([*old, *lines])
    tables = {second: mine, not second: other}
    parts = [f"{TITLES[which]}\n{tables[which]}" for which in (False, True) if tables[which]]
    PAGE.write_text(HEAD + "\n" + "\n\n".join(parts) + "\n")


def _path(line: str) -> str:
    """The first cell of a line, without the side of a translation; SCTP is a path of its own."""
    path, protocol = (cell.strip() for cell in line.split("|")[1:3])
    return "SCTP" if protocol.startswith("SCTP") else path.partition(",")[0]


def in_guest(names: list[str]) -> tuple[list[str], str]:
    """The table of the second kernel, read from its console, and its release."""
    heard: list[str] = []

    def listen(line: str) -> None:
        if LINE in line:
            heard.append(line.partition(LINE)[2].strip())
        print(line, end="", file=sys.stderr, flush=True)

    release = second_kernel.prepare()
    command = shlex.join(
        [".venv/bin/python", "-m", "tests.kernel.accuracy_page", "--lines", *names]
    )
    if second_kernel.boot(release, second_kernel.initramfs(release, command), listen):
        print("==> not every path could be measured", file=sys.stderr)
    return heard, release


def main() -> int:
    """0 when every difference is 0."""
    words = sys.argv[1:]
    names = [word for word in words if not word.startswith("--")]
    second = "--second-kernel" in words
    if "--lines" in words:
        loader.find_bcc = lambda: stand_in() or find_bcc()
        kinds = {name: SELDOM[name] for name in names or SELDOM}
        for line in table(kinds, CONNECTIONS_EMULATED, SIZE_EMULATED):
            print(f"{LINE}{line}", flush=True)
        return 0
    if second:
        lines, release = in_guest(names)
    else:
        lines, release = list(table(USUAL, CONNECTIONS, SIZE)), platform.release().partition("-")[0]
    write(lines, release, second=second)
    wrong = [line for line in lines if not right(line)]
    print("\n".join(wrong or [f"==> {len(lines)} lines, every difference is 0"]))
    return int(bool(wrong) or not lines)


if __name__ == "__main__":
    sys.exit(main())
