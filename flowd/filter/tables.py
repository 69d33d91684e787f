"""Tests over columns of FLOW rows: lookup tables that turn rows into a boolean mask.

A test of a registry index evaluates its predicate once for each entry of the registry, a test of
text once for each distinct text.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowd.filter.cost import check
from flowd.model.directory import Registry
from flowd.model.records.flow import FlowRows

Mask: TypeAlias = NDArray[np.bool_]
Test: TypeAlias = Callable[[FlowRows], Mask]
T = TypeVar("T", bound=Hashable)

_MAX_TEXTS = 65536


class RegistryTest(Generic[T]):
    """Passes rows whose index in `column` refers to a registry entry that passes `predicate`."""

    def __init__(self, column: str, registry: Registry[T], predicate: Callable[[T], bool]) -> None:
        self._column = column
        self._registry = registry
        self._predicate = predicate
        self._table: Mask = np.zeros(0, np.bool_)

    def __call__(self, rows: FlowRows) -> Mask:
        known = len(self._table)
        if known < len(self._registry):
            new = [self._passes(i) for i in range(known, len(self._registry))]
            self._table = np.concatenate([self._table, np.array(new, np.bool_)])
        return self._table[rows[self._column]]

    def _passes(self, index: int) -> bool:
        check()
        return self._predicate(self._registry[index])


class SetTest:
    """Passes rows whose uint8 value in `column` is one of `numbers`."""

    def __init__(self, column: str, numbers: Iterable[int]) -> None:
        self._column = column
        self._table: Mask = np.zeros(256, np.bool_)
        self._table[[number for number in numbers if 0 <= number < 256]] = True

    def __call__(self, rows: FlowRows) -> Mask:
        return self._table[rows[self._column]]


class TextTest:
    """Passes rows whose object in `column` passes `predicate`.

    Args:
        absent: the value tested for rows with None; None: these rows never pass.
        among: a test that rows must pass first.
    """

    def __init__(
        self,
        column: str,
        predicate: Callable[[Any], bool],
        *,
        absent: Hashable = None,
        among: Test | None = None,
    ) -> None:
        self._column = column
        self._predicate = predicate
        self._absent = absent
        self._among = among
        self._seen: dict[Any, bool] = {}

    def narrow(self, rows: FlowRows, mask: Mask) -> None:
        """Clear the rows of `mask` that do not pass; tests only rows still set."""
        if self._among:
            mask &= self._among(rows)
        places = np.flatnonzero(mask)
        mask[places] = [self._passes(value) for value in rows[self._column][places].tolist()]

    def _passes(self, value: Any) -> bool:
        if value is None:
            value = self._absent
            if value is None:
                return False
        known = self._seen.get(value)
        if known is None:
            check()
            if len(self._seen) >= _MAX_TEXTS:
                self._seen.clear()
            known = self._seen[value] = self._predicate(value)
        return known


def constant(value: bool) -> Test:
    """A test with the same result for every row."""
    return lambda rows: np.full(len(rows), value)


def both(*tests: Test) -> Test:
    """A test that passes the rows that pass every test."""

    def test(rows: FlowRows) -> Mask:
        mask = tests[0](rows)
        for one in tests[1:]:
            mask = mask & one(rows)
        return mask

    return test


def either(tests: Iterable[Test]) -> Test:
    """A test that passes the rows that pass at least one test."""
    alternatives = list(tests)

    def test(rows: FlowRows) -> Mask:
        mask = np.zeros(len(rows), np.bool_)
        for one in alternatives:
            check()
            mask |= one(rows)
        return mask

    return test
