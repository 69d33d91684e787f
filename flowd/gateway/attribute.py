"""The attribute stage: fills route, backend and attribution of request rows."""

import time
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from flowd.gateway.entry import Shape, ShapeKey, detail, shapes
from flowd.gateway.evidence import Answer, Evidence
from flowd.gateway.table import RouteTable
from flowd.kubernetes.objects import Objects
from flowd.model.directory import Directory
from flowd.model.enums import Attribution
from flowd.model.request import RequestBatch
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

GENERATIONS = 4
MAX_CACHED = 65_536
MAX_STRANGERS = 4096
"""Most names kept of routes, Gateways and Services that no object confirms."""

Result: TypeAlias = tuple[int, int, int]
"""The values of the columns route, backend and attribution."""


@dataclass(slots=True)
class _Generation:
    """A table, the Unix time in nanoseconds from which it holds, and answers already given."""

    start: int
    table: RouteTable
    evidence: Evidence
    cache: dict[ShapeKey, Result] = field(default_factory=dict[ShapeKey, Result])


class Attributor:
    """Attributes requests to routes by the table that was valid when each began.

    Args:
        dialect: whose names, ports and order of matches to expect, a key of
            flowd.gateway.dialect.DIALECTS.
    """

    def __init__(self, directory: Directory, dialect: str = "eg") -> None:
        self._directory = directory
        self._dialect = dialect
        self._admitted: set[RouteRef | BackendRef] = set()
        self._strangers = 0
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
        table = RouteTable.build(objects, self._dialect)
        start = time.time_ns() if now_ns is None else now_ns
        if self._generations and not (self.table.gateways or self.table.routes):
            self._generations.clear()
        self._generations.append(_Generation(start, table, Evidence(table)))
        del self._generations[:-GENERATIONS]

    def attribute(self, batch: RequestBatch) -> None:
        """Fill the columns `route`, `backend` and `attribution` of a batch in place."""
        if not len(batch):
            return
        starts = np.array([entry.start for entry in self._generations[1:]], np.uint64)
        times: NDArray[np.uint64] = batch["time_ns"]
        at = np.searchsorted(starts, times, side="right")
        for index, generation in enumerate(self._generations):
            rows = np.flatnonzero(at == index)
            if not len(rows):
                continue
            results = self._results(batch[rows], generation)
            batch["route"][rows] = results[:, 0]
            batch["backend"][rows] = results[:, 1]
            batch["attribution"][rows] = results[:, 2]

    def _results(self, batch: RequestBatch, generation: _Generation) -> NDArray[np.uint32]:
        cache = generation.cache
        results: list[Result] = []
        for row, shape in enumerate(shapes(batch)):
            result = cache.get(shape)
            if result is None:
                answer = generation.evidence.answer(Shape(*shape), detail(batch[row]))
                result = self._numbers(answer, generation.table)
                if answer.by_shape:
                    if len(cache) >= MAX_CACHED:
                        cache.clear()
                    cache[shape] = result
            results.append(result)
        return np.array(results, np.uint32)

    def _numbers(self, answer: Answer, table: RouteTable) -> Result:
        route, backend, attribution = answer.route, answer.backend, answer.attribution
        if route not in self._admitted and not self._admit(route, table.confirms(route)):
            route, attribution = NO_ROUTE, Attribution.NONE
        known = backend in self._admitted or table.services.confirms(backend)
        if not self._admit(backend, known):
            backend = NO_BACKEND
        directory = self._directory
        return directory.routes.index(route), directory.backends.index(backend), int(attribution)

    def _admit(self, ref: RouteRef | BackendRef, confirmed: bool) -> bool:
        """Whether a name may enter the directory, which never forgets."""
        if not confirmed:
            self._strangers += 1
            if self._strangers > MAX_STRANGERS:
                return False
        self._admitted.add(ref)
        return True
