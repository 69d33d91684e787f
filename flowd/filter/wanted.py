"""Values of filter fields, checked, as predicates over what a flow has there.

Every parser takes the field's name, for errors, and its values as protobuf gives them.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from flowd.filter.grammar import patterns
from flowd.filter.grammar.errors import FilterError
from flowd.filter.grammar.selector import parse_selector
from flowd.filter.tables import Mask, Test, either
from flowd.model.records.flow import FlowRows
from flowd.wire.flow.flow_pb2 import TCPFlags

Predicate: TypeAlias = Callable[[Any], bool]
Parser: TypeAlias = Callable[[str, Sequence[Any]], Predicate]

L4_NAMES = {
    1: ("icmpv4", "icmp"),
    2: ("igmp",),
    6: ("tcp",),
    17: ("udp",),
    58: ("icmpv6", "icmp"),
    112: ("vrrp",),
    132: ("sctp",),
}
"""What the filter `protocol` calls an IP protocol."""

_NAMES = {name for names in L4_NAMES.values() for name in names} | {"dns", "http", "kafka"}
_FLAG_BITS = {field.name: 1 << bit for bit, field in enumerate(TCPFlags.DESCRIPTOR.fields)}


class OneOf:
    """Numbers or texts of which a flow must have one."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = frozenset(values)

    def __call__(self, value: Any) -> bool:
        return value in self.values


class Networks:
    """Addresses and CIDRs, over textual addresses."""

    def __init__(self, networks: Sequence[patterns.Network]) -> None:
        self._all = networks
        self._exact = {
            str(one.network_address) for one in networks if one.prefixlen == one.max_prefixlen
        }
        self._wide = [one for one in networks if one.prefixlen < one.max_prefixlen]

    def __call__(self, text: str) -> bool:
        """Whether a textual address lies in one of them."""
        if text in self._exact or not self._wide:
            return text in self._exact
        address = _parsed(text)
        return address is not None and any(address in one for one in self._wide)

    def over(self, column: str) -> Test:
        """The same of a column of addresses."""
        return either(_in_network(column, one) for one in self._all)


@lru_cache(65536)
def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _in_network(column: str, network: patterns.Network) -> Test:
    version, length = network.version, network.prefixlen
    address = network.network_address
    if isinstance(address, ipaddress.IPv4Address):
        address = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
        length += 96
    bits = ((1 << length) - 1) << (128 - length)
    wanted = [np.uint64(int(address) >> shift & 0xFFFFFFFFFFFFFFFF) for shift in (64, 0)]
    kept = [np.uint64(bits >> shift & 0xFFFFFFFFFFFFFFFF) for shift in (64, 0)]
    with_zero = int(address) == 0  # which stands for no address

    def test(rows: FlowRows) -> Mask:
        halves = np.ascontiguousarray(rows[column]).view(">u8")
        found = (halves[:, 0] & kept[0] == wanted[0]) & (halves[:, 1] & kept[1] == wanted[1])
        if with_zero:
            found &= (halves[:, 0] | halves[:, 1]) != 0
        return found & (rows["family"] == version)

    return test


def numbers(field: str, values: Sequence[Any]) -> OneOf:
    """As they are."""
    return OneOf(values)


def texts(field: str, values: Sequence[str]) -> OneOf:
    """Equal; the empty text stands for none."""
    return OneOf(set(values) - {""})


def networks(field: str, values: Sequence[str]) -> Networks:
    return Networks([patterns.network(value, field) for value in values])


def name_prefixes(field: str, values: Sequence[str]) -> Predicate:
    """Over (namespace, name)."""
    tests = [patterns.name_prefix(value, field) for value in values]
    return lambda names: any(test(*names) for test in tests)


def globs(field: str, values: Sequence[str]) -> Predicate:
    tests = [patterns.glob(value, field) for value in values]
    return lambda name: any(test(name) for test in tests)


def node_globs(field: str, values: Sequence[str]) -> Predicate:
    """Over (cluster, node)."""
    tests = [patterns.node_glob(value) for value in values]
    return lambda names: any(test(*names) for test in tests)


def selectors(field: str, values: Sequence[str]) -> Predicate:
    """Over labels."""
    tests = [parse_selector(value) for value in values]
    return lambda labels: any(test(labels) for test in tests)


def regexes(field: str, values: Sequence[str]) -> Predicate:
    tests = [patterns.regex(value, field) for value in values]
    return lambda text: any(test(text) for test in tests)


def workloads(field: str, values: Sequence[Any]) -> Predicate:
    """Over (name, kind); an empty part of a value is any."""
    wanted = [(value.name, value.kind) for value in values]
    return lambda held: any(
        name in ("", held[0]) and kind in ("", held[1]) for name, kind in wanted
    )


def interfaces(field: str, values: Sequence[Any]) -> Predicate:
    """Over (index, name); an empty part of a value is any."""
    wanted = [(value.index, value.name) for value in values]
    return lambda held: any(
        index in (0, held[0]) and name in ("", held[1]) for index, name in wanted
    )


def clusters(field: str, values: Sequence[str]) -> OneOf:
    if "" in values:
        raise FilterError(f"{field}: empty value")
    return OneOf(values)


def ports(field: str, values: Sequence[str]) -> OneOf:
    return OneOf(patterns.port(value, field) for value in values)


class EventTypes:
    """Types with their sub-types; type 0 and sub-type None are any.

    Attributes:
        pairs: the types and sub-types.
    """

    def __init__(self, pairs: Sequence[tuple[int, int | None]]) -> None:
        self.pairs = pairs

    def __call__(self, held: tuple[int, int]) -> bool:
        return any(kind in (0, held[0]) and sub in (None, held[1]) for kind, sub in self.pairs)


def event_types(field: str, values: Sequence[Any]) -> EventTypes:
    return EventTypes([(one.type, one.sub_type if one.match_sub_type else None) for one in values])


def protocols(field: str, values: Sequence[str]) -> OneOf:
    wanted = {value.lower() for value in values}
    if unknown := wanted - _NAMES:
        raise FilterError(f"protocol: unknown protocol {min(unknown)!r}")
    return OneOf(wanted)


def tcp_flags(field: str, values: Sequence[TCPFlags]) -> Predicate:
    """Over the bits of `flag_bits`: all flags of a value must be set."""
    wanted = [flag_bits(value) for value in values]
    return lambda held: any(held & bits == bits for bits in wanted)


def flag_bits(flags: TCPFlags) -> int:
    """A bit a flag, as in the TCP header, NS above them."""
    return sum(_FLAG_BITS[field.name] for field, _ in flags.ListFields())


class Ranges:
    """Numbers from a first to a last one.

    Attributes:
        bounds: the first and the last ones.
    """

    def __init__(self, bounds: Sequence[tuple[int, int]]) -> None:
        self.bounds = bounds

    def __call__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.bounds)


def statuses(field: str, values: Sequence[str]) -> Ranges:
    return Ranges([patterns.status_range(value) for value in values])


def methods(field: str, values: Sequence[str]) -> OneOf:
    """Over names in lower case."""
    return OneOf({value.lower() for value in values} - {""})


def paths(field: str, values: Sequence[str]) -> Predicate:
    """Over URLs, of which the path is looked at."""
    wanted = regexes(field, values)

    def matches(url: str) -> bool:
        path = patterns.url_path(url)
        return path is not None and wanted(path)

    return matches


def headers(field: str, values: Sequence[Any]) -> OneOf:
    """Over (key, value)."""
    return OneOf((value.key, value.value) for value in values)
