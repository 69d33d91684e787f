"""Requests by route and backend: the numbers behind the Gateways view."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import add, sub
from typing import NamedTuple

from flowd.text import printable
from flowd.wire.flowd import agent_pb2

clean = lru_cache(8192)(printable)


class Key(NamedTuple):
    """Which requests: all fields are printable; kind is "" when no route took them."""

    gateway_namespace: str
    gateway: str
    listener: str
    kind: str
    namespace: str
    name: str
    rule: int
    reason: str
    backend_namespace: str
    backend: str
    backend_port: int


class Split(NamedTuple):
    """Requests that tell where their time went, and the sums of the parts, microseconds."""

    requests: int = 0
    client_network: int = 0
    gateway: int = 0
    pod_network: int = 0
    pod: int = 0

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """The four parts, on the way from the client."""
        return self[1:]


NO_SPLIT = Split()


@dataclass(slots=True)
class Totals:
    """Sums over requests; `latency` counts by the buckets of agent.proto."""

    requests: int = 0
    retries: int = 0
    status: Counter[int] = field(default_factory=Counter[int])
    flags: Counter[str] = field(default_factory=Counter[str])
    latency: Counter[int] = field(default_factory=Counter[int])
    attribution: Counter[str] = field(default_factory=Counter[str])
    split: Split = NO_SPLIT

    def add(self, other: "Totals") -> None:
        """Count another one in."""
        self.requests += other.requests
        self.retries += other.retries
        self.status.update(other.status)
        self.flags.update(other.flags)
        self.latency.update(other.latency)
        self.attribution.update(other.attribution)
        if other.split.requests:
            self.split = Split(*map(add, self.split, other.split))

    def remove(self, other: "Totals") -> None:
        """Take out what was added before."""
        self.requests -= other.requests
        self.retries -= other.retries
        self.status -= other.status
        self.flags -= other.flags
        self.latency -= other.latency
        self.attribution -= other.attribution
        if other.split.requests:
            self.split = Split(*map(sub, self.split, other.split))

    def errors(self, hundreds: int) -> float:
        """Share of requests with a status in 400s (4) or 500s (5), in percent."""
        count = sum(n for status, n in self.status.items() if status // 100 == hundreds)
        return 100 * count / self.requests if self.requests else 0.0

    def quantile(self, q: float) -> float:
        """Latency in nanoseconds below which a share `q` of the requests stayed; 0 for none.

        Inside a bucket the requests are taken as evenly spread on the logarithmic scale, so the
        error is below half a bucket, 9 %.
        """
        rank = q * self.latency.total()
        seen = 0
        for bucket in sorted(self.latency):
            count = self.latency[bucket]
            if count and seen + count >= rank:
                part = (rank - seen) / count
                return 1000 * (2 ** ((bucket - 1 + part) / 4) if bucket else part)
            seen += count
        return 0.0


def total(parts: Iterable[Totals]) -> Totals:
    """The sum of some totals, as a new object."""
    result = Totals()
    for part in parts:
        result.add(part)
    return result


class Second(NamedTuple):
    """What one snapshot of the agent said; nobody changes the totals in it."""

    time_ns: int
    interval_ns: int
    flows: int
    bytes: int
    new_connections: int
    cells: Mapping[Key, Totals]


def second(snapshot: agent_pb2.Snapshot) -> Second:
    """A snapshot as it is kept; names made printable."""
    cells: dict[Key, Totals] = {}
    for row in snapshot.routes:
        key = Key(
            clean(row.gateway_namespace),
            clean(row.gateway),
            clean(row.listener),
            clean(row.kind),
            clean(row.namespace),
            clean(row.name),
            row.rule,
            clean(row.reason),
            clean(row.backend_namespace),
            clean(row.backend),
            row.backend_port,
        )
        sample = Totals(
            row.requests,
            row.retries,
            Counter(row.status),
            Counter({clean(flag): count for flag, count in row.response_flags.items()}),
            Counter(row.latency),
            Counter({clean(row.attribution): row.requests}),
            _split(row.split) if row.HasField("split") else NO_SPLIT,
        )
        if key in cells:
            cells[key].add(sample)
        else:
            cells[key] = sample
    return Second(
        snapshot.time.ToNanoseconds(),
        snapshot.interval_ns,
        snapshot.flows,
        snapshot.bytes,
        snapshot.new_connections,
        cells,
    )


def _split(told: agent_pb2.LatencySplit) -> Split:
    return Split(
        told.requests,
        told.client_network_us,
        told.gateway_us,
        told.pod_network_us,
        told.pod_us,
    )
