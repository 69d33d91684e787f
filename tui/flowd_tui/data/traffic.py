"""Requests by route and backend in one second, and sums of them, for the Gateways view."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import add, sub
from typing import NamedTuple

from flowd.text import printable
from flowd.wire.flowd import agent_pb2

clean = lru_cache(8192)(printable)


class TrafficKey(NamedTuple):
    """Route and backend that requests are counted by; `kind` is "" for requests without a route."""

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


class LatencySplit(NamedTuple):
    """Sums of the four parts of the latency in µs, over `requests` requests that have them."""

    requests: int = 0
    client_network: int = 0
    gateway: int = 0
    pod_network: int = 0
    pod: int = 0

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """The four sums, from the client to the pod."""
        return self[1:]


NO_SPLIT = LatencySplit()


@dataclass(slots=True)
class Totals:
    """Sums over requests.

    Attributes:
        latency: requests by bucket of agent.proto, four buckets for each factor of 2.
        attribution: requests by evidence for the route.
    """

    requests: int = 0
    retries: int = 0
    status: Counter[int] = field(default_factory=Counter[int])
    flags: Counter[str] = field(default_factory=Counter[str])
    latency: Counter[int] = field(default_factory=Counter[int])
    attribution: Counter[str] = field(default_factory=Counter[str])
    split: LatencySplit = NO_SPLIT

    def add(self, other: "Totals") -> None:
        """Add other totals."""
        self.requests += other.requests
        self.retries += other.retries
        self.status.update(other.status)
        self.flags.update(other.flags)
        self.latency.update(other.latency)
        self.attribution.update(other.attribution)
        if other.split.requests:
            self.split = LatencySplit(*map(add, self.split, other.split))

    def remove(self, other: "Totals") -> None:
        """Subtract totals that were added before."""
        self.requests -= other.requests
        self.retries -= other.retries
        self.status -= other.status
        self.flags -= other.flags
        self.latency -= other.latency
        self.attribution -= other.attribution
        if other.split.requests:
            self.split = LatencySplit(*map(sub, self.split, other.split))

    def errors(self, hundreds: int) -> float:
        """Percentage of requests with a status of class `hundreds`: 4 for 4xx, 5 for 5xx."""
        count = sum(n for status, n in self.status.items() if status // 100 == hundreds)
        return 100 * count / self.requests if self.requests else 0.0

    def quantile(self, q: float) -> float:
        """Quantile `q` (0 to 1) of the latency in nanoseconds; 0 without requests.

        Requests are interpolated on the logarithmic scale inside a bucket, so the error is below
        half a bucket, 9 %.
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
    """Sum of totals, as a new object."""
    result = Totals()
    for part in parts:
        result.add(part)
    return result


class Second(NamedTuple):
    """Traffic of one snapshot of the agent; the totals in it are never changed."""

    time_ns: int
    interval_ns: int
    flows: int
    bytes: int
    new_connections: int
    cells: Mapping[TrafficKey, Totals]


def second(snapshot: agent_pb2.Snapshot) -> Second:
    """Convert a snapshot of Agent.Watch; makes names printable."""
    cells: dict[TrafficKey, Totals] = {}
    for row in snapshot.routes:
        key = TrafficKey(
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


def _split(split: agent_pb2.LatencySplit) -> LatencySplit:
    return LatencySplit(
        split.requests,
        split.client_network_us,
        split.gateway_us,
        split.pod_network_us,
        split.pod_us,
    )
