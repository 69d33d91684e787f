"""Combinations of compile-time switches of flow.c: all of them, and a pairwise-covering subset."""

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flowd.capture.dns.source import defines as dns_defines
from flowd_bpf.errors import BpfError
from flowd_bpf.load import loader
from flowd_bpf.load.drop_types import drop_types
from flowd_bpf.load.socket_types import RING_BYTES, socket_unit

SWITCHES: dict[str, tuple[dict[str, int], ...]] = {
    "cidr": ({}, {"FILTER_CIDR": 1}, {"FILTER_CIDR": 2}),
    "port": ({}, {"FILTER_PORT": 1}, {"FILTER_PORT": 2}),
    "protocol": ({}, {"FILTER_PROTOCOL": 1}, {"FILTER_PROTOCOL": 2}),
    "sampling": ({}, {"SAMPLING": 10}),
    "tunnels": ({}, {f"TUNNEL_{n}": 0 for n in range(4)}, {"TUNNEL_3": 0x217C2}),
    "dns": ({}, dns_defines((53,)), dns_defines((53, 1053, 5353, 8053))),
    "sizes": ({}, {"MAX_CONNECTIONS": 1024, "RING_BYTES": 4096, "ACTIVE_TICKS": 1}),
}
"""Defines of each value of a switch of flow.c; the first is the default."""

Choice = tuple[int, ...]


def product() -> list[Choice]:
    """All combinations, each as an index into the values of every switch."""
    return list(itertools.product(*(range(len(values)) for values in SWITCHES.values())))


def pairwise() -> list[Choice]:
    """A small, greedily chosen set that has each pair of values of any two switches."""
    left = {pair for choice in product() for pair in _pairs(choice)}
    chosen: list[Choice] = []
    while left:
        best = max(product(), key=lambda choice: len(left & set(_pairs(choice))))
        chosen.append(best)
        left -= set(_pairs(best))
    return chosen


def _pairs(choice: Choice) -> Iterator[tuple[tuple[int, int], ...]]:
    return itertools.combinations(enumerate(choice), 2)


def defines(choice: Choice) -> dict[str, int]:
    """The settings of a combination, for the loader."""
    found: dict[str, int] = {}
    for values, index in zip(SWITCHES.values(), choice, strict=True):
        found |= values[index]
    return found


def refused(choices: Sequence[Choice]) -> list[str]:
    """Compile and load each, one per CPU at a time; returns the errors of compiler and kernel."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [said for said in pool.map(_attempt, choices) if said]


def _attempt(choice: Choice) -> str:
    """Load one combination; some also load drops.c or sockets.c, which no switch changes."""
    try:
        loader.load(defines(choice), *_parts(sum(choice))).close()
    except BpfError as error:
        return f"{defines(choice)}: {error}"
    return ""


def _parts(number: int) -> tuple[Any, Any]:
    try:
        drops = drop_types(64).unit if number % 4 == 1 else None
    except BpfError:
        drops = None
    sockets = socket_unit(RING_BYTES, loader.ticks_per_second()) if number % 4 == 2 else None
    return drops, sockets
