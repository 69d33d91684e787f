"""Which connections the kernel programs take: a filter, and one in so many of what it lets through."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

import numpy as np
from numpy.typing import NDArray

from flowd.errors import UsageError
from flowd.model.address import pack
from flowd.model.enums import Protocol
from flowd.settings import Settings
from flowd_bpf.layout import CHOICE, PREFIX
from flowd_bpf.maps.maps import HashMap

MAX_CIDRS = 4096  # MAX_FILTER_CIDRS of config.h
PORTS = 65536
PROTOCOLS = 256

_OTHERS_STAY, _OTHERS_GO = 1, 2  # filter.h
_BITS = 64


@dataclass(frozen=True, slots=True)
class Filter:
    """Connections that are wanted, each list as in the settings; `!` before an entry leaves it out.

    A connection is left out when an entry with `!` names either end, its port, or the protocol; and
    where a list has entries without `!`, one of them must name it. Of networks within each other the
    longest prefix counts. Every one in `sampling` of what is left is taken, by a hash of the tuple,
    so that a connection is counted whole or not at all, and the same on every node it crosses.

    Raises:
        UsageError: an entry that cannot be.
    """

    cidrs: Sequence[str] = ()
    ports: Sequence[str] = ()
    protocols: Sequence[str] = ()
    sampling: int = 1

    def __post_init__(self) -> None:
        self._networks()
        self._numbers()

    def defines(self) -> Mapping[str, int]:
        """Switches of filter.h; nothing is compiled for an empty list."""
        found = {
            name: _others(entries)
            for name, entries in (
                ("FILTER_CIDR", self.cidrs),
                ("FILTER_PORT", self.ports),
                ("FILTER_PROTOCOL", self.protocols),
            )
            if entries
        }
        return found | ({"SAMPLING": self.sampling} if self.sampling > 1 else {})

    def fill(self, maps: Mapping[str, int]) -> None:
        """Write the lists into the maps (descriptors by name) before anything is attached.

        Raises:
            BpfError: the kernel refused it.
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
            rows = np.zeros(bits.shape[1] // _BITS, CHOICE)
            for column, wanted in (("unwanted", 0), ("wanted", 1)):
                packed = np.packbits(bits[wanted], bitorder="little")
                rows[column] = packed.view("<u8")
            indexes = np.arange(len(rows), dtype="u4")
            HashMap(maps["flowd_filter_numbers"], np.dtype("u4"), CHOICE).update(indexes, rows)

    def __str__(self) -> str:
        """What `flowd status` says; "" when everything is taken."""
        lists = (("", self.cidrs), ("port ", self.ports), ("", self.protocols))
        said = [f"only {what}{' '.join(entries)}" for what, entries in lists if entries]
        if self.sampling > 1:
            said.append(f"1 in {self.sampling} connections")
        return ", ".join(said)

    def _networks(self) -> dict[tuple[int, bytes], int]:
        """By length in bits and first address, whether the network is wanted."""
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
        """Shape (2, PORTS + PROTOCOLS): those that are unwanted, and those that are wanted."""
        bits = np.zeros((2, PORTS + PROTOCOLS), np.bool_)
        for wanted, text in _entries(self.ports):
            first, last = _range(text)
            bits[wanted, first : last + 1] = True
        for wanted, text in _entries(self.protocols):
            bits[wanted, PORTS + _protocol(text)] = True
        return bits


def filter_of(settings: Settings) -> Filter:
    """The filter that settings ask for.

    Raises:
        UsageError: an entry that cannot be.
    """
    return Filter(
        settings.filter_cidr, settings.filter_port, settings.filter_protocol, settings.sampling
    )


def _entries(entries: Iterable[str]) -> list[tuple[int, str]]:
    return [(int(not entry.startswith("!")), entry.removeprefix("!")) for entry in entries]


def _others(entries: Sequence[str]) -> int:
    return _OTHERS_GO if any(wanted for wanted, _ in _entries(entries)) else _OTHERS_STAY


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
