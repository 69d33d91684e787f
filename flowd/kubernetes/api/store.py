"""The objects that the API server has, as far as it told."""

import asyncio
from collections.abc import Mapping

from flowd.kubernetes.objects.core import Object
from flowd.kubernetes.objects.snapshot import KINDS, KINDS_BY_TYPE, Kind, Objects

Key = tuple[str, str]


class Store:
    """Objects by kind, and whether they changed since the last snapshot.

    An object that comes again with the same fields changes nothing: most of a cluster's updates
    are of fields that are not kept.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._live: dict[str, dict[Key, Object]] = {kind.attribute: {} for kind in KINDS.values()}
        self._dirty: set[str] = set()
        self._lent: set[str] = set()
        self._under = Objects()
        self._last = Objects()

    def __len__(self) -> int:
        return sum(map(len, self._live.values()))

    def get(self, kind: Kind) -> Mapping[Key, Object]:
        """All objects of a kind."""
        return self._live[kind.attribute]

    def put(self, item: Object) -> None:
        """Keep an object in the place of an earlier one of its name."""
        kind = KINDS_BY_TYPE[type(item)]
        if self._live[kind.attribute].get(item.key) != item:
            self._own(kind)[item.key] = item
            self._touch(kind)

    def delete(self, kind: Kind, key: Key) -> None:
        """Forget an object, if it is known."""
        if key in self._live[kind.attribute]:
            del self._own(kind)[key]
            self._touch(kind)

    def replace(self, kind: Kind, objects: dict[Key, Object]) -> None:
        """These are all objects of a kind; what is not among them is gone."""
        if self._live[kind.attribute] != objects:
            self._touch(kind)
        self._live[kind.attribute] = objects
        self._lent.discard(kind.attribute)

    def snapshot(self, under: Objects) -> Objects:
        """Everything at this moment, laid over `under`: of two with one name the live one wins.

        The mappings of kinds that did not change are those of the last snapshot.
        """
        fresh = Objects()
        for kind in KINDS.values():
            name = kind.attribute
            below = getattr(under, name)
            same = name not in self._dirty and below is getattr(self._under, name)
            if same:
                value = getattr(self._last, name)
            elif below:
                value = {**below, **self._live[name]}
            else:
                value = self._live[name]
                self._lent.add(name)
            setattr(fresh, name, value)
        self._dirty.clear()
        self.changed.clear()
        self._under, self._last = under, fresh
        return fresh

    def _own(self, kind: Kind) -> dict[Key, Object]:
        """The objects of a kind to be changed: another mapping than any snapshot has."""
        name = kind.attribute
        if name in self._lent:
            self._live[name] = dict(self._live[name])
            self._lent.discard(name)
        return self._live[name]

    def _touch(self, kind: Kind) -> None:
        self._dirty.add(kind.attribute)
        self.changed.set()
