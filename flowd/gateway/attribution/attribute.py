"""The attribute stage: fills route, backend and attribution of request rows."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from flowd.gateway.attribution.entry import (
    Columns,
    Detail,
    Shape,
    ShapeKey,
    detail_columns,
    no_route_reason,
    shapes,
)
from flowd.gateway.attribution.evidence import Answer, Evidence
from flowd.gateway.attribution.request_classes import Likeness
from flowd.gateway.attribution.response_flags import Trait, fill_outcomes
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.enums import Attribution
from flowd.model.records.request import RequestBatch
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

GENERATIONS = 4
MAX_CACHED = 16_384
MAX_KEY = 1024
"""Most characters of what is remembered together with an answer."""
MAX_STRANGERS = 4096
"""Most names kept of routes, Gateways and Services that no object confirms."""

Key = TypeVar("Key")
Result: TypeAlias = tuple[int, int, int, int]
"""The values of the columns route, backend and attribution, and the Trait bits of the rule."""


@dataclass(slots=True)
class _Generation:
    """A table, the Unix time in nanoseconds from which it holds, and answers already given."""

    start: int
    table: RouteTable
    evidence: Evidence
    likeness: Likeness
    results: list[Result] = field(default_factory=list[Result])
    numbered: dict[Result, int] = field(default_factory=dict[Result, int])
    cache: dict[ShapeKey, int] = field(default_factory=dict[ShapeKey, int])
    detailed: dict[tuple[object, ...], int] = field(default_factory=dict[tuple[object, ...], int])

    _columns: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, 4), np.uint32))

    def columns(self) -> NDArray[np.uint32]:
        """The results as columns, shape (results, 4)."""
        if len(self._columns) < len(self.results):
            self._columns = np.array(self.results, np.uint32)
        return self._columns

    def number(self, result: Result) -> int:
        """The place of a result among all that there were, which are few as the directory is."""
        number = self.numbered.setdefault(result, len(self.results))
        if number == len(self.results):
            self.results.append(result)
        return number


class Attributor:
    """Attributes requests to routes by the table that was valid when each began.

    Args:
        dialect: whose names, ports and order of matches to expect, a key of
            flowd.gateway.matching.dialect.DIALECTS.

    Attributes:
        conflicts: kinds of requests, counted once each while a table holds, for which the proxy's
            name of the route and the matching rules disagree; the name was kept.
    """

    def __init__(self, directory: Directory, dialect: str = "eg") -> None:
        self._directory = directory
        self._dialect = dialect
        self._admitted: set[RouteRef | BackendRef] = set()
        self._strangers = 0
        self.conflicts = 0
        self._generations: list[_Generation] = []
        self.update(Objects(), 0)

    @property
    def table(self) -> RouteTable:
        """The table in force."""
        return self._generations[-1].table

    def update(self, objects: Objects, now_ns: int | None = None) -> None:
        """Put a table of these objects in force from now on, or from a Unix time.

        The first that is not empty holds for the past too. Requests that began before a change are
        attributed by the table of their time, as long as it is among the last GENERATIONS.

        Raises:
            UnsupportedError: a route has a regular expression and google-re2 is not installed.
        """
        before = self.table if self._generations else None
        table = RouteTable.build(objects, self._dialect, before)
        start = time.time_ns() if now_ns is None else now_ns
        if before:
            before.retire()
        if self._generations and not (self.table.gateways or self.table.routes):
            self._generations.clear()
        self._generations.append(_Generation(start, table, Evidence(table), Likeness(table)))
        del self._generations[:-GENERATIONS]

    def attribute(self, batch: RequestBatch) -> None:
        """Fill the columns `route`, `backend`, `attribution` and `outcome` of a batch in place."""
        if not len(batch):
            return
        starts = np.array([entry.start for entry in self._generations[1:]], np.uint64)
        times: NDArray[np.uint64] = batch["time_ns"]
        at = np.searchsorted(starts, times, side="right")
        traits = np.zeros(len(batch), np.uint8)
        for index, generation in enumerate(self._generations):
            rows = np.flatnonzero(at == index)
            if not len(rows):
                continue
            whole = len(rows) == len(batch)  # a copy of rows with objects costs more than the rest
            numbers = self._results(batch if whole else batch[rows], generation)
            results = generation.columns()[numbers]
            for place, column in enumerate(("route", "backend", "attribution")):
                batch[column][rows] = results[:, place]
            traits[rows] = results[:, 3]
        fill_outcomes(batch, traits)

    def _results(self, batch: RequestBatch, generation: _Generation) -> NDArray[np.int64]:
        """The place of each row's answer among the generation's results."""
        keys = list(shapes(batch))
        found = list(map(generation.cache.get, keys))
        rows = [row for row, number in enumerate(found) if number is None]
        if rows:
            columns = detail_columns(batch, rows)
            wanted = [keys[row] for row in rows]
            longer = list(_keys(wanted, columns, generation))
            numbers = list(map(generation.detailed.get, longer))
            for place, row in enumerate(rows):
                number = numbers[place]
                if number is None:
                    entry = Detail(*(column[place] for column in columns))
                    number = self._result(keys[row], longer[place], entry, generation)
                found[row] = number
        return np.array(found, np.int64)

    def _result(
        self, shape: ShapeKey, key: tuple[object, ...], entry: Detail, generation: _Generation
    ) -> int:
        """The answer for an entry whose shape alone does not give it, nor was remembered.

        Args:
            key: of the entry, as `_keys` gives it.
        """
        result = generation.detailed.get(key, generation.cache.get(shape))
        if result is not None:
            return result
        answer = generation.evidence.answer(Shape(*shape), entry)
        result = generation.number(self._numbers(answer, generation.table))
        self.conflicts += answer.conflict
        if answer.by_shape and sum(map(len, (shape[1], shape[2], shape[7]))) <= MAX_KEY:
            _keep(generation.cache, shape, result)
        elif _length(key) <= MAX_KEY:
            _keep(generation.detailed, key, result)
        return result

    def _numbers(self, answer: Answer, table: RouteTable) -> Result:
        route, backend, attribution = answer.route, answer.backend, answer.attribution
        if route not in self._admitted and not self._admit(route, table.confirms(route)):
            route, attribution = NO_ROUTE, Attribution.NONE
        known = backend in self._admitted or table.services.confirms(backend)
        if not self._admit(backend, known):
            backend = NO_BACKEND
        directory = self._directory
        numbers = directory.routes.index(route), directory.backends.index(backend)
        return (*numbers, int(attribution), int(_traits(table, route)))

    def _admit(self, ref: RouteRef | BackendRef, confirmed: bool) -> bool:
        """Whether a name may enter the directory, which never forgets."""
        if not confirmed:
            self._strangers += 1
            if self._strangers > MAX_STRANGERS:
                return False
        self._admitted.add(ref)
        return True


def _traits(table: RouteTable, ref: RouteRef) -> Trait:
    """What of the rule tells in what became of its requests."""
    route = table.routes.get((ref.kind, ref.namespace, ref.name))
    found = Trait(0)
    for rule in route.rules if route else ():
        if rule.index == ref.rule:
            usable = [each for each in rule.backends if each.ref.weight and not each.reason]
            empty = bool(usable) and all(each.ready == 0 for each in usable)
            found |= Trait.MIRRORS if rule.mirrors else Trait(0)
            found |= Trait.EMPTY if empty else Trait(0)
    return found


def _keep(cache: dict[Key, int], key: Key, result: int) -> None:
    if len(cache) >= MAX_CACHED:
        cache.clear()
    cache[key] = result


def _keys(
    shapes: Sequence[ShapeKey], columns: Columns, generation: _Generation
) -> Iterator[tuple[object, ...]]:
    """Equal for entries that nothing in the table can tell apart."""
    scheme, host, path, original, method, sni, headers, agent, details, flags = columns
    reasons = [
        no_route_reason(shape[0], text, bits) if bits or text != "via_upstream" else ""
        for shape, text, bits in zip(shapes, details, flags, strict=True)
    ]
    asked = [first or second for first, second in zip(original, path, strict=True)]
    alike = {target: generation.likeness.of(target) for target in set(asked)}
    names = generation.table.header_names
    values = [
        [fields.get(name) for fields in headers] for name in ("x-envoy-original-host", *names)
    ]
    values += [agent] if "user-agent" in names else []
    targets = map(alike.__getitem__, asked)
    return zip(shapes, reasons, targets, scheme, host, method, sni, *values, strict=True)


def _length(key: tuple[object, ...]) -> int:
    """Characters of the texts in a key, those of the shape left out."""
    _, reason, target, *rest = key
    parts = [reason, *cast("tuple[object, ...]", target), *rest]
    return sum(len(part) for part in parts if isinstance(part, str))
