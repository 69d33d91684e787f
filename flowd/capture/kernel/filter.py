"""The capture filter of the kernel programs: networks, ports, protocols, and sampling."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

import numpy as np
from numpy.typing import NDArray

from flowd.errors import UsageError
from flowd.model.address import pack
from flowd.model.enums import Protocol
from flowd.settings import Settings
from flowd_bpf.layout import FILTER_WORD, PREFIX
from flowd_bpf.maps.maps import HashMap

MAX_CIDRS = 4096  # MAX_FILTER_CIDRS of config.h
PORTS = 65536
PROTOCOLS = 256

_DEFAULT_INCLUDE, _DEFAULT_EXCLUDE = 1, 2  # values of FILTER_* in filter.h
_BITS = 64


@dataclass(frozen=True, slots=True)
class CaptureFilter:
    """Selects the connections to capture; lists are written as in the settings.

    An entry with `!` excludes connections whose address, port or protocol it matches. If a list has
    entries without `!`, a connection must match one of them. Of nested networks the longest prefix
    decides. Sampling then keeps one connection in `sampling`, by a hash of the tuple, so a
    connection is counted completely or not at all, and every node it crosses makes the same choice.

    Raises:
        UsageError: an entry is invalid.
    """

    cidrs: Sequence[str] = ()
    ports: Sequence[str] = ()
    protocols: Sequence[str] = ()
    sampling: int = 1

    def __post_init__(self) -> None:
        self._networks()
        self._numbers()

    def defines(self) -> Mapping[str, int]:
        """Macros of filter.h; an empty list compiles to nothing."""
        macros = {
            name: _default(entries)
            for name, entries in (
                ("FILTER_CIDR", self.cidrs),
                ("FILTER_PORT", self.ports),
                ("FILTER_PROTOCOL", self.protocols),
            )
            if entries
        }
        return macros | ({"SAMPLING": self.sampling} if self.sampling > 1 else {})

    def fill(self, maps: Mapping[str, int]) -> None:
        """Write the lists into the maps, before any program is attached.

        Args:
            maps: file descriptors by name.

        Raises:
            BpfError: the kernel refuses a map operation.
        """
        if self.cidrs:
            networks = self._networks()
            keys = np.zeros(len(networks), PREFIX)
            keys["bits"] = [bits for bits, _ in networks]
            keys["addr"] = np.frombuffer(b"".join(at for _, at in networks), "u1").reshape(-1, 16)
            values = np.array(list(networks.values()), "u4")
            HashMap(maps["flowd_filter_cidrs"], PREFIX, np.dtype("u4")).update(keys, values)
        if self.ports or self.protocols:
            bits = self._numbers()
            rows = np.zeros(bits.shape[1] // _BITS, FILTER_WORD)
            for column, wanted in (("unwanted", 0), ("wanted", 1)):
                packed = np.packbits(bits[wanted], bitorder="little")
                rows[column] = packed.view("<u8")
            indexes = np.arange(len(rows), dtype="u4")
            HashMap(maps["flowd_filter_numbers"], np.dtype("u4"), FILTER_WORD).update(indexes, rows)

    def __str__(self) -> str:
        """The filter as `flowd status` prints it; "" when every connection is captured."""
        lists = (("", self.cidrs), ("port ", self.ports), ("", self.protocols))
        clauses = [f"only {what}{' '.join(entries)}" for what, entries in lists if entries]
        if self.sampling > 1:
            clauses.append(f"1 in {self.sampling} connections")
        return ", ".join(clauses)

    def _networks(self) -> dict[tuple[int, bytes], int]:
        """1 for included and 0 for excluded, by prefix length of 128 bits and first address."""
        found: dict[tuple[int, bytes], int] = {}
        for wanted, text in _entries(self.cidrs):
            try:
                network = ip_network(text)
            except ValueError as error:
                raise UsageError(f"filter_cidr {text!r}: {error}", "write 10.0.0.0/8") from None
            bits = network.prefixlen + (96 if network.version == 4 else 0)
            found[bits, pack(str(network.network_address))] = wanted
        if len(found) > MAX_CIDRS:
            raise UsageError(f"{len(found)} networks in filter_cidr", f"{MAX_CIDRS} at most")
        return found

    def _numbers(self) -> NDArray[np.bool_]:
        """Excluded (row 0) and included (row 1) numbers, shape (2, PORTS + PROTOCOLS)."""
        bits = np.zeros((2, PORTS + PROTOCOLS), np.bool_)
        for wanted, text in _entries(self.ports):
            first, last = _range(text)
            bits[wanted, first : last + 1] = True
        for wanted, text in _entries(self.protocols):
            bits[wanted, PORTS + _protocol(text)] = True
        return bits


def capture_filter(settings: Settings) -> CaptureFilter:
    """The filter of the settings.

    Raises:
        UsageError: an entry is invalid.
    """
    return CaptureFilter(
        settings.filter_cidr, settings.filter_port, settings.filter_protocol, settings.sampling
    )


def _entries(entries: Iterable[str]) -> list[tuple[int, str]]:
    return [(int(not entry.startswith("!")), entry.removeprefix("!")) for entry in entries]


def _default(entries: Sequence[str]) -> int:
    return _DEFAULT_EXCLUDE if any(wanted for wanted, _ in _entries(entries)) else _DEFAULT_INCLUDE


def _number(text: str, below: int, fail: Callable[[], UsageError]) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) >= below:
        raise fail()
    return int(text)


def _range(text: str) -> tuple[int, int]:
    def fail() -> UsageError:
        return UsageError(f"filter_port {text!r}", "write 443 or 8000-8999, of 0 to 65535")

    first, dash, last = text.partition("-")
    found = _number(first, PORTS, fail), _number(last if dash else first, PORTS, fail)
    if found[0] > found[1]:
        raise fail()
    return found


def _protocol(text: str) -> int:
    names = {protocol.name.lower(): int(protocol) for protocol in Protocol}

    def fail() -> UsageError:
        return UsageError(f"filter_protocol {text!r}", f"write {', '.join(names)} or a number")

    return names[text.lower()] if text.lower() in names else _number(text, PROTOCOLS, fail)
