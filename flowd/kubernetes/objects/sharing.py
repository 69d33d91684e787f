"""Parts of objects that are equal kept once: Pods of a workload, or routes of a Gateway, differ in little."""

from collections.abc import Hashable
from sys import intern
from typing import TypeVar, cast

import msgspec

from flowd.kubernetes.objects.core import EndpointSlice, Labels, Object, Pod
from flowd.kubernetes.objects.gateway_api import GRPCRoute, HTTPRoute

H = TypeVar("H", bound=Hashable)
MAX_SHARED = 1 << 16


class Sharing:
    """Puts what was seen before in the place of what is equal to it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Hashable] = {}
        self._labels: dict[tuple[tuple[str, str], ...], Labels] = {}

    def share(self, item: Object) -> None:
        """Share the parts of an object that nobody else has yet."""
        if len(self._known) + len(self._labels) > MAX_SHARED:
            self._known.clear()
            self._labels.clear()
        meta = item.metadata
        _set(meta, "namespace", intern(meta.namespace))
        _set(meta, "owner_references", self._one(meta.owner_references))
        _set(meta, "creation_timestamp", self._one(meta.creation_timestamp))
        labels = tuple(meta.labels.items())
        _set(meta, "labels", self._labels.setdefault(labels, meta.labels))
        if isinstance(item, Pod):
            _set(item, "spec", self._one(item.spec))
            _set(item.status, "phase", intern(item.status.phase))
            for entry in item.status.pod_ips:
                if entry.ip == item.status.pod_ip:
                    _set(entry, "ip", item.status.pod_ip)
        elif isinstance(item, EndpointSlice):
            _set(item, "ports", self._one(item.ports))
            for endpoint in item.endpoints:
                _set(endpoint, "node_name", intern(endpoint.node_name))
        elif isinstance(item, (HTTPRoute, GRPCRoute)):
            _set(item.spec, "parent_refs", self._one(item.spec.parent_refs))
            _set(item.spec, "hostnames", self._one(item.spec.hostnames))
            for rule in item.spec.rules:
                _set(rule, "backend_refs", self._one(rule.backend_refs))
                _set(rule, "filters", self._one(rule.filters))

    def _one(self, value: H) -> H:
        return cast("H", self._known.setdefault(value, value))


def _set(part: msgspec.Struct, name: str, value: object) -> None:
    """Set a field of a frozen struct that was just decoded to an equal value."""
    msgspec.structs.force_setattr(part, name, value)
