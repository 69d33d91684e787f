"""Label values of metrics and names in spans: from the numbers in a column to their text."""

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

T = TypeVar("T", bound=Hashable)

OTHER = "other"
"""Value of every label of the series that takes what is over the bound of a metric."""

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
LATENCY_PARTS = ("client_network", "gateway", "pod_network", "pod")
"""Parts that a request's time is split into; the columns of REQUEST are `<part>_us`."""

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

_ROUTE_OBJECT: dict[str, Callable[[RouteRef], str]] = {
    "gateway_namespace": lambda route: route.gateway_namespace,
    "gateway": lambda route: route.gateway,
    "listener": lambda route: route.listener,
    "route_kind": lambda route: route.kind,
    "route_namespace": lambda route: route.namespace,
    "route": lambda route: route.name,
}
_ROUTE_RULE: dict[str, Callable[[RouteRef], str]] = {
    **_ROUTE_OBJECT,
    "rule": lambda route: index_text(route.rule),
    "rule_name": lambda route: route.rule_name,
}
ROUTE_OBJECT_LABELS = tuple(_ROUTE_OBJECT)
"""Labels of a route object at one listener."""

ROUTE_RULE_LABELS = tuple(_ROUTE_RULE)
"""ROUTE_OBJECT_LABELS, then those of one rule of the route."""

BACKEND_LABELS = ("backend_namespace", "backend", "backend_port")


def bounded(text: str) -> str:
    """A label value: printable, at most 256 characters."""
    return printable(text, LABEL_CHARACTERS)


def index_text(index: int) -> str:
    """An index as a label value; "" for a negative one, which means unknown."""
    return str(index) if index >= 0 else ""


def response_flag_names(flags: int) -> str:
    """Short names of a response flag set as Envoy writes it: `UF,URX`, `-` for none."""
    names = [name for bit, name in enumerate(RESPONSE_FLAGS) if flags >> bit & 1]
    return ",".join(names) or "-"


def method_codes(methods: NDArray[Any]) -> NDArray[np.intp]:
    """Indexes into METHODS of a column of method names, shape (n,), dtype object."""
    return np.array([*map(_METHOD_CODES.get, methods.tolist(), repeat(0))], np.intp)


class Interned(Generic[T]):
    """Maps registry indexes to dense ids of label sets.

    Many entries of a registry have the same labels (pods of one workload, matches of one rule);
    they share an id. The labels of an entry are made once, when `ids` first meets the entry.

    Attributes:
        labels: label values by id.
    """

    def __init__(self, registry: Registry[T], labels_of: Callable[[T], tuple[str, ...]]) -> None:
        self._registry = registry
        self._labels_of = labels_of
        self._ids = np.zeros(0, np.intp)
        self._id_by_labels: dict[tuple[str, ...], int] = {}
        self.labels: list[tuple[str, ...]] = []

    def ids(self, column: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Ids of a column of registry indexes, shape (n,); `labels[id]` are the label values."""
        if len(self._ids) < len(self._registry):
            self._extend()
        return self._ids[column]

    def _extend(self) -> None:
        new: list[int] = []
        for index in range(len(self._ids), len(self._registry)):
            labels = tuple(map(bounded, self._labels_of(self._registry[index])))
            if labels not in self._id_by_labels:
                self._id_by_labels[labels] = len(self.labels)
                self.labels.append(labels)
            new.append(self._id_by_labels[labels])
        self._ids = np.concatenate([self._ids, np.array(new, np.intp)])


class FlagSets:
    """Dense ids of response flag sets, at most 256 different ones and `other`.

    Attributes:
        labels: label value by id.
    """

    def __init__(self) -> None:
        self._id_by_flags: dict[int, int] = {0: 0}
        self.labels = [response_flag_names(0)]

    def ids(self, column: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Ids of a column of flag sets, shape (n,); `labels[id]` is the label value."""
        if not column.any():
            return np.zeros(len(column), np.intp)
        named = (1 << len(RESPONSE_FLAGS)) - 1
        distinct, inverse = np.unique(column & np.uint64(named), return_inverse=True)
        return np.array([self._id(flags) for flags in distinct.tolist()], np.intp)[inverse]

    def _id(self, flags: int) -> int:
        found = self._id_by_flags.get(flags)
        if found is None:
            if len(self.labels) < FLAG_SETS:
                self.labels.append(response_flag_names(flags))
            elif len(self.labels) == FLAG_SETS:
                self.labels.append(OTHER)
            found = len(self.labels) - 1
            if found < FLAG_SETS:
                self._id_by_flags[flags] = found
        return found


def workload_labels(endpoint: Endpoint) -> tuple[str, str]:
    """Namespace and workload; a bare pod or a Service is its own, others are named by kind."""
    if endpoint.kind in (EndpointKind.POD, EndpointKind.SERVICE):
        return endpoint.namespace, endpoint.workload or endpoint.name
    return "", endpoint.workload or endpoint.kind


def route_labels(route: RouteRef) -> tuple[str, ...]:
    """Values of ROUTE_RULE_LABELS."""
    return tuple(value(route) for value in _ROUTE_RULE.values())


def route_object_of(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Values of ROUTE_OBJECT_LABELS, taken from those of ROUTE_RULE_LABELS."""
    return labels[: len(ROUTE_OBJECT_LABELS)]


def backend_labels(backend: BackendRef) -> tuple[str, str, str]:
    """Values of BACKEND_LABELS."""
    return backend.namespace, backend.name, str(backend.port) if backend.port else ""


class DirectoryLabels:
    """Label sets of the endpoints, routes and backends of a Directory.

    Attributes:
        workloads: by endpoint index, values of `workload_labels`.
        routes: by route index, values of ROUTE_RULE_LABELS.
        backends: by backend index, values of BACKEND_LABELS.
        reasons: by route index, why there is no route; "" where there is one.
        flags: ids of response flag sets.
    """

    def __init__(self, directory: Directory) -> None:
        self.workloads = Interned(directory.endpoints, workload_labels)
        self.routes = Interned(directory.routes, route_labels)
        self.backends = Interned(directory.backends, backend_labels)
        self.reasons = Interned(directory.routes, _unattributed_reason)
        self.flags = FlagSets()


def _unattributed_reason(route: RouteRef) -> tuple[str]:
    return ("" if route.kind else route.reason or "unknown",)
