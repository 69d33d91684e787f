"""Parse and check filter values, one function for each kind of field; each returns a predicate.

Every parser takes the field's name, for error messages, and its values as protobuf decodes them.
A parser raises FilterError for an invalid value.
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
"""Names of IP protocols in the filter `protocol`."""

_NAMES = {name for names in L4_NAMES.values() for name in names} | {"dns", "http", "kafka"}
_FLAG_BITS = {field.name: 1 << bit for bit, field in enumerate(TCPFlags.DESCRIPTOR.fields)}


class OneOf:
    """A predicate: the value is one of `values`."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = frozenset(values)

    def __call__(self, value: Any) -> bool:
        return value in self.values


class NetworkSet:
    """A predicate over textual addresses: the address lies in one of the networks."""

    def __init__(self, networks: Sequence[patterns.Network]) -> None:
        self._all = networks
        self._exact = {
            str(one.network_address) for one in networks if one.prefixlen == one.max_prefixlen
        }
        self._wide = [one for one in networks if one.prefixlen < one.max_prefixlen]

    def __call__(self, text: str) -> bool:
        """Whether a textual address lies in one of the networks."""
        if text in self._exact or not self._wide:
            return text in self._exact
        address = _parsed(text)
        return address is not None and any(address in one for one in self._wide)

    def over(self, column: str) -> Test:
        """The same test over an address column, shape (N, 16)."""
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
    with_zero = int(address) == 0  # the all-zero address stands for "no address"

    def test(rows: FlowRows) -> Mask:
        halves = np.ascontiguousarray(rows[column]).view(">u8")
        found = (halves[:, 0] & kept[0] == wanted[0]) & (halves[:, 1] & kept[1] == wanted[1])
        if with_zero:
            found &= (halves[:, 0] | halves[:, 1]) != 0
        return found & (rows["family"] == version)

    return test


def numbers(field: str, values: Sequence[Any]) -> OneOf:
    """Equal numbers."""
    return OneOf(values)


def texts(field: str, values: Sequence[str]) -> OneOf:
    """Equal texts; an empty value matches nothing."""
    return OneOf(set(values) - {""})


def networks(field: str, values: Sequence[str]) -> NetworkSet:
    """IP addresses and CIDRs."""
    return NetworkSet([patterns.network(value, field) for value in values])


def name_prefixes(field: str, values: Sequence[str]) -> Predicate:
    """Name prefixes, over (namespace, name)."""
    tests = [patterns.name_prefix(value, field) for value in values]
    return lambda names: any(test(*names) for test in tests)


def globs(field: str, values: Sequence[str]) -> Predicate:
    """Globs over one name."""
    tests = [patterns.glob(value, field) for value in values]
    return lambda name: any(test(name) for test in tests)


def node_globs(field: str, values: Sequence[str]) -> Predicate:
    """Globs over (cluster, node)."""
    tests = [patterns.node_glob(value) for value in values]
    return lambda names: any(test(*names) for test in tests)


def selectors(field: str, values: Sequence[str]) -> Predicate:
    """Label selectors, over the labels of an endpoint."""
    tests = [parse_selector(value) for value in values]
    return lambda labels: any(test(labels) for test in tests)


def regexes(field: str, values: Sequence[str]) -> Predicate:
    """RE2 expressions."""
    tests = [patterns.regex(value, field) for value in values]
    return lambda text: any(test(text) for test in tests)


def workloads(field: str, values: Sequence[Any]) -> Predicate:
    """Over (name, kind); an empty part of a value matches any."""
    wanted = [(value.name, value.kind) for value in values]
    return lambda workload: any(
        name in ("", workload[0]) and kind in ("", workload[1]) for name, kind in wanted
    )


def interfaces(field: str, values: Sequence[Any]) -> Predicate:
    """Over (index, name); an empty part of a value matches any."""
    wanted = [(value.index, value.name) for value in values]
    return lambda interface: any(
        index in (0, interface[0]) and name in ("", interface[1]) for index, name in wanted
    )


def clusters(field: str, values: Sequence[str]) -> OneOf:
    if "" in values:
        raise FilterError(f"{field}: empty value")
    return OneOf(values)


def ports(field: str, values: Sequence[str]) -> OneOf:
    return OneOf(patterns.port(value, field) for value in values)


class EventTypes:
    """A predicate over (type, sub-type); type 0 and sub-type None match any.

    Attributes:
        pairs: types and sub-types.
    """

    def __init__(self, pairs: Sequence[tuple[int, int | None]]) -> None:
        self.pairs = pairs

    def __call__(self, event: tuple[int, int]) -> bool:
        return any(kind in (0, event[0]) and sub in (None, event[1]) for kind, sub in self.pairs)


def event_types(field: str, values: Sequence[Any]) -> EventTypes:
    return EventTypes([(one.type, one.sub_type if one.match_sub_type else None) for one in values])


def protocols(field: str, values: Sequence[str]) -> OneOf:
    wanted = {value.lower() for value in values}
    if unknown := wanted - _NAMES:
        raise FilterError(f"protocol: unknown protocol {min(unknown)!r}")
    return OneOf(wanted)


def tcp_flags(field: str, values: Sequence[TCPFlags]) -> Predicate:
    """Over the bits of `flag_bits`; all flags of a value must be set."""
    wanted = [flag_bits(value) for value in values]
    return lambda flags: any(flags & bits == bits for bits in wanted)


def flag_bits(flags: TCPFlags) -> int:
    """One bit for each flag, as in the TCP header; NS is the highest."""
    return sum(_FLAG_BITS[field.name] for field, _ in flags.ListFields())


class Ranges:
    """A predicate: the number lies in one of the ranges.

    Attributes:
        bounds: first and last number of each range.
    """

    def __init__(self, bounds: Sequence[tuple[int, int]]) -> None:
        self.bounds = bounds

    def __call__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.bounds)


def statuses(field: str, values: Sequence[str]) -> Ranges:
    return Ranges([patterns.status_range(value) for value in values])


def methods(field: str, values: Sequence[str]) -> OneOf:
    """Over method names in lower case."""
    return OneOf({value.lower() for value in values} - {""})


def paths(field: str, values: Sequence[str]) -> Predicate:
    """RE2 expressions over the path of a URL."""
    wanted = regexes(field, values)

    def matches(url: str) -> bool:
        path = patterns.url_path(url)
        return path is not None and wanted(path)

    return matches


def headers(field: str, values: Sequence[Any]) -> OneOf:
    """Over a header's (key, value)."""
    return OneOf((value.key, value.value) for value in values)
