"""Attribute stage: fill the columns route, backend, attribution and outcome of REQUEST rows."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from flowd.gateway.attribution.entry import (
    EntryFields,
    EntryKey,
    EntryKeyTuple,
    FieldColumns,
    entry_keys,
    field_columns,
    no_route_reason,
)
from flowd.gateway.attribution.evidence import AttributionResult, Evidence
from flowd.gateway.attribution.request_classes import RequestClasses
from flowd.gateway.attribution.response_flags import RuleTrait, fill_outcomes
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.enums import Attribution
from flowd.model.records.request import RequestBatch
from flowd.model.route import NO_BACKEND, NO_ROUTE, BackendRef, RouteRef

MAX_TABLE_VERSIONS = 4
MAX_CACHED = 16_384
MAX_KEY = 1024
"""Most characters of a cache key."""
MAX_UNCONFIRMED = 4096
"""Most references kept whose route, Gateway or Service is not among the objects."""

Key = TypeVar("Key")
ResultRow: TypeAlias = tuple[int, int, int, int]
"""Values of the columns route, backend and attribution, and the RuleTrait bits of the rule."""


@dataclass(slots=True)
class _TableVersion:
    """One version of the route table, with the caches of its results.

    Attributes:
        start: Unix time in nanoseconds from which the version is valid.
        results: distinct result rows; the caches hold positions in this list.
        numbered: position in `results` by result row.
        cache: position by EntryKey, for keys that determine the result.
        detailed: position by full key (see `_keys`), for all other entries.
    """

    start: int
    table: RouteTable
    evidence: Evidence
    request_classes: RequestClasses
    results: list[ResultRow] = field(default_factory=list[ResultRow])
    numbered: dict[ResultRow, int] = field(default_factory=dict[ResultRow, int])
    cache: dict[EntryKeyTuple, int] = field(default_factory=dict[EntryKeyTuple, int])
    detailed: dict[tuple[object, ...], int] = field(default_factory=dict[tuple[object, ...], int])

    _columns: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, 4), np.uint32))

    def columns(self) -> NDArray[np.uint32]:
        """Result rows as an array, shape (len(results), 4), dtype u4."""
        if len(self._columns) < len(self.results):
            self._columns = np.array(self.results, np.uint32)
        return self._columns

    def intern(self, result: ResultRow) -> int:
        """Return the position of a result row in `results`; append it when it is new."""
        number = self.numbered.setdefault(result, len(self.results))
        if number == len(self.results):
            self.results.append(result)
        return number


class Attributor:
    """Attribute requests to routes by the table that was valid when each request began.

    Args:
        dialect: implementation whose names, ports and order of matches apply, a key of
            flowd.gateway.matching.dialect.DIALECTS.

    Attributes:
        conflicts: number of distinct cache keys whose route name contradicts the matching rules;
            the route name decides. Each key counts once for each table version.
    """

    def __init__(self, directory: Directory, dialect: str = "eg") -> None:
        self._directory = directory
        self._dialect = dialect
        self._admitted: set[RouteRef | BackendRef] = set()
        self._unconfirmed = 0
        self.conflicts = 0
        self._versions: list[_TableVersion] = []
        self.update(Objects(), 0)

    @property
    def table(self) -> RouteTable:
        """The current route table."""
        return self._versions[-1].table

    def update(self, objects: Objects, now_ns: int | None = None) -> None:
        """Build the route table of these objects, valid from now on or from `now_ns`.

        The first table that is not empty is valid for the past too. Requests that began before a
        change use the older table while it is among the last MAX_TABLE_VERSIONS.

        Args:
            now_ns: Unix time in nanoseconds.

        Raises:
            UnsupportedError: a route has a regular expression and google-re2 is not installed.
        """
        before = self.table if self._versions else None
        table = RouteTable.build(objects, self._dialect, before)
        start = time.time_ns() if now_ns is None else now_ns
        if before:
            before.retire()
        if self._versions and not (self.table.gateways or self.table.routes):
            self._versions.clear()
        self._versions.append(_TableVersion(start, table, Evidence(table), RequestClasses(table)))
        del self._versions[:-MAX_TABLE_VERSIONS]

    def attribute(self, batch: RequestBatch) -> None:
        """Fill the columns `route`, `backend`, `attribution` and `outcome` in place."""
        if not len(batch):
            return
        starts = np.array([entry.start for entry in self._versions[1:]], np.uint64)
        times: NDArray[np.uint64] = batch["time_ns"]
        version_of = np.searchsorted(starts, times, side="right")
        traits = np.zeros(len(batch), np.uint8)
        for index, version in enumerate(self._versions):
            rows = np.flatnonzero(version_of == index)
            if not len(rows):
                continue
            all_rows = len(rows) == len(batch)  # copying rows that hold objects dominates the cost
            numbers = self._results(batch if all_rows else batch[rows], version)
            results = version.columns()[numbers]
            for place, column in enumerate(("route", "backend", "attribution")):
                batch[column][rows] = results[:, place]
            traits[rows] = results[:, 3]
        fill_outcomes(batch, traits)

    def _results(self, batch: RequestBatch, version: _TableVersion) -> NDArray[np.int64]:
        """Positions in `version.results`, shape (N,), one for each row."""
        keys = list(entry_keys(batch))
        found = list(map(version.cache.get, keys))
        rows = [row for row, number in enumerate(found) if number is None]
        if rows:
            columns = field_columns(batch, rows)
            wanted = [keys[row] for row in rows]
            full_keys = list(_keys(wanted, columns, version))
            numbers = list(map(version.detailed.get, full_keys))
            for place, row in enumerate(rows):
                number = numbers[place]
                if number is None:
                    fields = EntryFields(*(column[place] for column in columns))
                    number = self._result(keys[row], full_keys[place], fields, version)
                found[row] = number
        return np.array(found, np.int64)

    def _result(
        self,
        key: EntryKeyTuple,
        full_key: tuple[object, ...],
        fields: EntryFields,
        version: _TableVersion,
    ) -> int:
        """Attribute one entry that missed the first cache; return its position in the results.

        Args:
            full_key: the key of the entry from `_keys`.
        """
        result = version.detailed.get(full_key, version.cache.get(key))
        if result is not None:
            return result
        answer = version.evidence.answer(EntryKey(*key), fields)
        result = version.intern(self._result_row(answer, version.table))
        self.conflicts += answer.conflict
        if answer.by_key and sum(map(len, (key[1], key[2], key[7]))) <= MAX_KEY:
            _keep(version.cache, key, result)
        elif _length(full_key) <= MAX_KEY:
            _keep(version.detailed, full_key, result)
        return result

    def _result_row(self, answer: AttributionResult, table: RouteTable) -> ResultRow:
        route, backend, attribution = answer.route, answer.backend, answer.attribution
        if route not in self._admitted and not self._admit(route, table.contains(route)):
            route, attribution = NO_ROUTE, Attribution.NONE
        known = backend in self._admitted or table.services.contains(backend)
        if not self._admit(backend, known):
            backend = NO_BACKEND
        directory = self._directory
        numbers = directory.routes.index(route), directory.backends.index(backend)
        return (*numbers, int(attribution), int(_traits(table, route)))

    def _admit(self, ref: RouteRef | BackendRef, confirmed: bool) -> bool:
        """Whether a reference may enter the directory, whose entries are never removed."""
        if not confirmed:
            self._unconfirmed += 1
            if self._unconfirmed > MAX_UNCONFIRMED:
                return False
        self._admitted.add(ref)
        return True


def _traits(table: RouteTable, ref: RouteRef) -> RuleTrait:
    """Traits of a route's rule that influence the outcome of its requests."""
    route = table.routes.get((ref.kind, ref.namespace, ref.name))
    found = RuleTrait(0)
    for rule in route.rules if route else ():
        if rule.index == ref.rule:
            usable = [each for each in rule.backends if each.ref.weight and not each.reason]
            empty = bool(usable) and all(each.ready == 0 for each in usable)
            found |= RuleTrait.MIRRORS if rule.mirrors else RuleTrait(0)
            found |= RuleTrait.EMPTY if empty else RuleTrait(0)
    return found


def _keep(cache: dict[Key, int], key: Key, result: int) -> None:
    if len(cache) >= MAX_CACHED:
        cache.clear()
    cache[key] = result


def _keys(
    keys: Sequence[EntryKeyTuple], columns: FieldColumns, version: _TableVersion
) -> Iterator[tuple[object, ...]]:
    """Cache keys: entries with equal keys get the same route."""
    scheme, host, path, original, method, sni, headers, agent, details, flags = columns
    reasons = [
        no_route_reason(key[0], text, bits) if bits or text != "via_upstream" else ""
        for key, text, bits in zip(keys, details, flags, strict=True)
    ]
    requested = [first or second for first, second in zip(original, path, strict=True)]
    classes = {target: version.request_classes.class_of(target) for target in set(requested)}
    names = version.table.header_names
    values = [
        [fields.get(name) for fields in headers] for name in ("x-envoy-original-host", *names)
    ]
    values += [agent] if "user-agent" in names else []
    targets = map(classes.__getitem__, requested)
    return zip(keys, reasons, targets, scheme, host, method, sni, *values, strict=True)


def _length(key: tuple[object, ...]) -> int:
    """Number of characters of the texts in a full key, without its EntryKey."""
    _, reason, target, *rest = key
    parts = [reason, *cast("tuple[object, ...]", target), *rest]
    return sum(len(part) for part in parts if isinstance(part, str))
