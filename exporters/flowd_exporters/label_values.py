"""From the numbers in a column to label values."""

from collections.abc import Callable, Hashable
from itertools import repeat
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory, Registry
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import (
    RESPONSE_FLAGS,
    Attribution,
    Direction,
    HttpVersion,
    Nat,
    Protocol,
    RequestOutcome,
)
from flowd.model.route import BackendRef, RouteRef
from flowd.text import printable
from flowd_exporters.prometheus.metric_definitions import OTHER

T = TypeVar("T", bound=Hashable)

LABEL_CHARACTERS = 256
FLAG_SETS = 256

PROTOCOLS: dict[int, str] = {
    Protocol.ICMP: "ICMPv4",
    Protocol.TCP: "TCP",
    Protocol.UDP: "UDP",
    Protocol.ICMPV6: "ICMPv6",
    Protocol.SCTP: "SCTP",
}
DIRECTIONS: dict[int, str] = {Direction.INGRESS: "ingress", Direction.EGRESS: "egress"}
REPORTERS: dict[int, str] = {Direction.INGRESS: "server", Direction.EGRESS: "client"}
NATS: dict[int, str] = {Nat.BEFORE: "before", Nat.AFTER: "after"}
FAMILIES: dict[int, str] = {4: "IPv4", 6: "IPv6"}
HTTP_VERSIONS: dict[int, str] = {
    HttpVersion.HTTP10: "HTTP/1.0",
    HttpVersion.HTTP11: "HTTP/1.1",
    HttpVersion.HTTP2: "HTTP/2",
    HttpVersion.HTTP3: "HTTP/3",
}
ATTRIBUTIONS: dict[int, str] = {value: value.name.lower() for value in Attribution}
OUTCOMES: dict[int, str] = {value: value.name.lower() for value in RequestOutcome}
METHODS = (
    "_OTHER",
    "CONNECT",
    "DELETE",
    "GET",
    "HEAD",
    "OPTIONS",
    "PATCH",
    "POST",
    "PUT",
    "TRACE",
)
"""Methods of RFC 9110 and RFC 5789; all others are `_OTHER`, as OpenTelemetry does."""

_METHOD_CODES = {method: code for code, method in enumerate(METHODS)}


def bounded(text: str) -> str:
    """A label value: printable, at most 256 characters."""
    return printable(text, LABEL_CHARACTERS)


def number(index: int) -> str:
    """An index as a label, "" when it is not known."""
    return str(index) if index >= 0 else ""


def flag_names(flags: int) -> str:
    """Short names of a response flag set as Envoy writes it: `UF,URX`, `-` for none."""
    names = [name for bit, name in enumerate(RESPONSE_FLAGS) if flags >> bit & 1]
    return ",".join(names) or "-"


def method_codes(methods: NDArray[Any]) -> NDArray[np.intp]:
    """Indexes into METHODS of a column of method names."""
    return np.array([*map(_METHOD_CODES.get, methods.tolist(), repeat(0))], np.intp)


class Interned(Generic[T]):
    """Maps registry indexes to dense ids of what their labels say.

    Many entries of a registry have the same labels (pods of one workload, matches of one rule);
    they share an id. Entries are looked at once, when first met.
    """

    def __init__(self, registry: Registry[T], labels_of: Callable[[T], tuple[str, ...]]) -> None:
        self._registry = registry
        self._labels_of = labels_of
        self._ids = np.zeros(0, np.intp)
        self._known: dict[tuple[str, ...], int] = {}
        self.labels: list[tuple[str, ...]] = []

    def ids(self, column: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Ids of a column of registry indexes; `labels[id]` are the label values."""
        if len(self._ids) < len(self._registry):
            self._extend()
        return self._ids[column]

    def _extend(self) -> None:
        new: list[int] = []
        for index in range(len(self._ids), len(self._registry)):
            labels = tuple(map(bounded, self._labels_of(self._registry[index])))
            if labels not in self._known:
                self._known[labels] = len(self.labels)
                self.labels.append(labels)
            new.append(self._known[labels])
        self._ids = np.concatenate([self._ids, np.array(new, np.intp)])


class FlagSets:
    """Dense ids of response flag sets, at most 256 different ones and `other`."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {0: 0}
        self.labels = [flag_names(0)]

    def ids(self, column: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Ids of a column of flag sets; `labels[id]` is the label value."""
        if not column.any():
            return np.zeros(len(column), np.intp)
        known = (1 << len(RESPONSE_FLAGS)) - 1
        distinct, inverse = np.unique(column & np.uint64(known), return_inverse=True)
        return np.array([self._id(flags) for flags in distinct.tolist()], np.intp)[inverse]

    def _id(self, flags: int) -> int:
        known = self._known.get(flags)
        if known is None:
            if len(self.labels) < FLAG_SETS:
                self.labels.append(flag_names(flags))
            elif len(self.labels) == FLAG_SETS:
                self.labels.append(OTHER)
            known = len(self.labels) - 1
            if known < FLAG_SETS:
                self._known[flags] = known
        return known


def workload(endpoint: Endpoint) -> tuple[str, str]:
    """Namespace and workload; a bare pod or a Service is its own, others are named by kind."""
    if endpoint.kind in (EndpointKind.POD, EndpointKind.SERVICE):
        return endpoint.namespace, endpoint.workload or endpoint.name
    return "", endpoint.workload or endpoint.kind


def route_labels(route: RouteRef) -> tuple[str, ...]:
    """Labels gateway_namespace to rule_name."""
    return (
        route.gateway_namespace,
        route.gateway,
        route.listener,
        route.kind,
        route.namespace,
        route.name,
        number(route.rule),
        route.rule_name,
    )


def backend_labels(backend: BackendRef) -> tuple[str, str, str]:
    """Labels backend_namespace, backend and backend_port."""
    return backend.namespace, backend.name, str(backend.port) if backend.port else ""


class DirectoryLabels:
    """The labels of everything in a directory."""

    def __init__(self, directory: Directory) -> None:
        self.workloads = Interned(directory.endpoints, workload)
        self.routes = Interned(directory.routes, route_labels)
        self.backends = Interned(directory.backends, backend_labels)
        self.reasons = Interned(directory.routes, _unattributed)
        self.flags = FlagSets()


def _unattributed(route: RouteRef) -> tuple[str]:
    """Why there is no route; "" where there is one."""
    return ("" if route.kind else route.reason or "unknown",)
