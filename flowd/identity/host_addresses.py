"""Local addresses of this machine, from fib_trie and if_inet6 in /proc/net."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowd.model.address import MAPPED, pack

LOOPBACK6 = pack("::1")
_MAPPED = np.frombuffer(MAPPED[8:], np.uint32)[0]
_ONE = np.frombuffer(LOOPBACK6[12:], np.uint32)[0]


def host_addresses(proc: Path = Path("/proc")) -> set[bytes]:
    """Read the local addresses of this network namespace, 16 bytes each.

    Source: the LOCAL leaves of net/fib_trie (net/ipv4/fib_trie.c), and net/if_inet6
    (net/ipv6/addrconf.c). A missing file (no IPv6) counts as empty.
    """
    found = {LOOPBACK6, pack("127.0.0.1")}
    leaf = ""
    for line in _lines(proc / "net/fib_trie"):
        words = line.split()
        if len(words) == 2 and words[0] in ("|--", "+--"):
            leaf = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.add(pack(leaf))
    for line in _lines(proc / "net/if_inet6"):
        found.add(bytes.fromhex(line.split()[0]))
    return found


def is_loopback(addresses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mask, shape (N,), of the addresses, shape (N, 16), in 127.0.0.0/8 or equal to ::1."""
    words = np.ascontiguousarray(addresses).view(np.uint32)
    front = (words[:, 0] | words[:, 1]) == 0
    mapped = (words[:, 2] == _MAPPED) & (addresses[:, 12] == 127)
    return front & (mapped | ((words[:, 2] == 0) & (words[:, 3] == _ONE)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
