"""Object store: cache of the API server's objects, with copy-on-write snapshots."""

import asyncio
from collections.abc import Mapping

from flowd.kubernetes.objects.core import Object
from flowd.kubernetes.objects.snapshot import KINDS, KINDS_BY_TYPE, ObjectKey, ObjectKind, Objects


class ObjectStore:
    """Objects by kind, with change detection since the last snapshot (client-go's Store).

    An update with equal fields is no change: most updates of a cluster touch only fields that are
    not kept.

    Attributes:
        changed: set by a change, cleared by a snapshot.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._live: dict[str, dict[ObjectKey, Object]] = {
            kind.attribute: {} for kind in KINDS.values()
        }
        self._dirty: set[str] = set()
        self._shared_out: set[str] = set()
        self._base = Objects()
        self._last = Objects()

    def __len__(self) -> int:
        return sum(map(len, self._live.values()))

    def get(self, kind: ObjectKind) -> Mapping[ObjectKey, Object]:
        """All objects of a kind by key; not to be modified."""
        return self._live[kind.attribute]

    def put(self, item: Object) -> None:
        """Add an object, or replace the one of the same name."""
        kind = KINDS_BY_TYPE[type(item)]
        if self._live[kind.attribute].get(item.key) != item:
            self._writable(kind)[item.key] = item
            self._mark_changed(kind)

    def delete(self, kind: ObjectKind, key: ObjectKey) -> None:
        """Delete an object, if it exists."""
        if key in self._live[kind.attribute]:
            del self._writable(kind)[key]
            self._mark_changed(kind)

    def replace(self, kind: ObjectKind, objects: dict[ObjectKey, Object]) -> None:
        """Replace all objects of a kind."""
        if self._live[kind.attribute] != objects:
            self._mark_changed(kind)
        self._live[kind.attribute] = objects
        self._shared_out.discard(kind.attribute)

    def snapshot(self, base: Objects) -> Objects:
        """Snapshot of the store merged over `base`; the store wins for equal names.

        Kinds without changes reuse the mappings of the last snapshot.
        """
        fresh = Objects()
        for kind in KINDS.values():
            name = kind.attribute
            lower = getattr(base, name)
            same = name not in self._dirty and lower is getattr(self._base, name)
            if same:
                value = getattr(self._last, name)
            elif lower:
                value = {**lower, **self._live[name]}
            else:
                value = self._live[name]
                self._shared_out.add(name)
            setattr(fresh, name, value)
        self._dirty.clear()
        self.changed.clear()
        self._base, self._last = base, fresh
        return fresh

    def _writable(self, kind: ObjectKind) -> dict[ObjectKey, Object]:
        """Mapping of a kind for writing; copied first when a snapshot shares it (copy-on-write)."""
        name = kind.attribute
        if name in self._shared_out:
            self._live[name] = dict(self._live[name])
            self._shared_out.discard(name)
        return self._live[name]

    def _mark_changed(self, kind: ObjectKind) -> None:
        self._dirty.add(kind.attribute)
        self.changed.set()
