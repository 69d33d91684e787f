"""Registries of endpoints, routes, backends, processes: the values behind the indices in rows.

Rows carry small integers; the directory maps them to values (dictionary encoding). Each registry is
append-only, and its index 0 is the unknown value, so that an index in an old row stays valid.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from flowd.model.endpoint import UNKNOWN_ENDPOINT, Endpoint
from flowd.model.process import NO_PROCESS, NO_TUNNEL, Process, Tunnel
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

T = TypeVar("T", bound=Hashable)


class Registry(Generic[T]):
    """An append-only list of distinct values, with the index of each value."""

    def __init__(self, unknown: T) -> None:
        self._values: list[T] = [unknown]
        self._index: dict[T, int] = {unknown: 0}

    def index(self, value: T) -> int:
        """The index of a value; a new value is appended."""
        known = self._index.get(value)
        if known is None:
            known = self._index[value] = len(self._values)
            self._values.append(value)
        return known

    def __getitem__(self, index: int) -> T:
        return self._values[index]

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, value: T) -> bool:
        return value in self._index

    def __iter__(self) -> Iterator[T]:
        return iter(self._values)


@dataclass(slots=True)
class Directory:
    """The registries shared by every stage of one agent."""

    node_name: str = "localhost"
    cluster_name: str = "default"
    endpoints: Registry[Endpoint] = field(default_factory=lambda: Registry(UNKNOWN_ENDPOINT))
    routes: Registry[RouteRef] = field(default_factory=lambda: Registry(NO_ROUTE))
    backends: Registry[BackendRef] = field(default_factory=lambda: Registry(NO_BACKEND))
    drop_reasons: Registry[str] = field(default_factory=lambda: Registry(""))  # SKB_DROP_REASON_*
    processes: Registry[Process] = field(default_factory=lambda: Registry(NO_PROCESS))
    tunnels: Registry[Tunnel] = field(default_factory=lambda: Registry(NO_TUNNEL))
    interfaces: dict[int, str] = field(default_factory=dict[int, str])  # ifindex to name
    sampling: int = 1  # one of this many connections is captured
    node_labels: tuple[str, ...] = ()  # `key=value` of this Node object, sorted
