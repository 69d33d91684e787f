"""Intern equal parts of objects: Pods of one workload or routes of one Gateway differ in little."""

from collections.abc import Hashable
from sys import intern
from typing import TypeVar, cast

import msgspec

from flowd.kubernetes.objects.core import EndpointSlice, Labels, Object, Pod
from flowd.kubernetes.objects.gateway_api import GRPCRoute, HTTPRoute

H = TypeVar("H", bound=Hashable)
MAX_SHARED = 1 << 16


class Interner:
    """Replaces parts of objects by equal parts of earlier objects, up to MAX_SHARED parts."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Hashable] = {}
        self._labels: dict[tuple[tuple[str, str], ...], Labels] = {}

    def intern_parts(self, item: Object) -> None:
        """Intern the parts of a new object in place, before anything else refers to it."""
        if len(self._known) + len(self._labels) > MAX_SHARED:
            self._known.clear()
            self._labels.clear()
        meta = item.metadata
        _set(meta, "namespace", intern(meta.namespace))
        _set(meta, "owner_references", self._intern(meta.owner_references))
        _set(meta, "creation_timestamp", self._intern(meta.creation_timestamp))
        labels = tuple(meta.labels.items())
        _set(meta, "labels", self._labels.setdefault(labels, meta.labels))
        if isinstance(item, Pod):
            _set(item, "spec", self._intern(item.spec))
            _set(item.status, "phase", intern(item.status.phase))
            for entry in item.status.pod_ips:
                if entry.ip == item.status.pod_ip:
                    _set(entry, "ip", item.status.pod_ip)
        elif isinstance(item, EndpointSlice):
            _set(item, "ports", self._intern(item.ports))
            for endpoint in item.endpoints:
                _set(endpoint, "node_name", intern(endpoint.node_name))
        elif isinstance(item, (HTTPRoute, GRPCRoute)):
            _set(item.spec, "parent_refs", self._intern(item.spec.parent_refs))
            _set(item.spec, "hostnames", self._intern(item.spec.hostnames))
            for rule in item.spec.rules:
                _set(rule, "backend_refs", self._intern(rule.backend_refs))
                _set(rule, "filters", self._intern(rule.filters))

    def _intern(self, value: H) -> H:
        return cast("H", self._known.setdefault(value, value))


def _set(part: msgspec.Struct, name: str, value: object) -> None:
    """Set a field of a new frozen struct to an equal value."""
    msgspec.structs.force_setattr(part, name, value)
