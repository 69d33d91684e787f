"""Select, copy and concatenate rows of structured arrays as bytes, not column by column.

numpy copies structured rows one column at a time, which takes fifty times as long as a copy of the
bytes for a row of sixty columns. Python objects have reference counts and cannot be copied as
bytes: object columns are copied by numpy, and the byte ranges between them as bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

_EVERY = slice(None)

Rows = TypeVar("Rows", bound=NDArray[Any])


@dataclass(frozen=True, slots=True)
class _RowLayout:
    """The object columns of a dtype, and the byte ranges between them."""

    objects: tuple[str, ...]
    byte_ranges: tuple[tuple[str, int], ...]  # first column and length in bytes
    plain: "np.dtype[np.void]"


@cache
def _layout(dtype: "np.dtype[Any]") -> _RowLayout:
    fields = sorted((dtype.fields or {}).items(), key=lambda field: field[1][1])
    objects = tuple(name for name, field in fields if field[0].hasobject)
    byte_ranges: list[tuple[str, int]] = []
    ends = [*(field[1] for name, field in fields if name in objects), dtype.itemsize]
    begin = 0
    for end in ends:
        if end > begin:
            first = next(name for name, field in fields if field[1] >= begin)
            byte_ranges.append((first, end - begin))
        begin = end + np.dtype(object).itemsize
    return _RowLayout(objects, tuple(byte_ranges), np.dtype(f"V{dtype.itemsize}"))


@cache
def _window(dtype: "np.dtype[Any]", column: str, length: int) -> "np.dtype[Any]":
    begin = cast("Mapping[str, Any]", dtype.fields)[column][1]
    return np.dtype(
        {
            "names": ["bytes"],
            "formats": [f"V{length}"],
            "offsets": [begin],
            "itemsize": dtype.itemsize,
        }
    )


def byte_view(rows: NDArray[Any], column: str, length: int) -> NDArray[np.void]:
    """A view of `length` bytes of each row, from a column on; dtype V<length>, shape (N,).

    The bytes contain no object. `length` is a multiple of the column's item size, because numpy
    forbids views of rows with objects: in these the column itself is viewed with a longer stride.
    """
    if not rows.dtype.hasobject:
        return rows.view(_window(rows.dtype, column, length))["bytes"]
    values = rows[column]
    width = values.dtype.itemsize
    grid = as_strided(values, (len(rows), length // width), (rows.strides[0], width))
    return grid.view(np.dtype(f"V{length}"))[:, 0]


def copy_rows(rows: Rows) -> Rows:
    """A copy of the rows."""
    if rows.dtype.hasobject:
        return select_rows(rows, np.arange(len(rows)))
    return rows.view(_layout(rows.dtype).plain).copy().view(rows.dtype)  # type: ignore[return-value]


def select_rows(rows: Rows, which: NDArray[Any]) -> Rows:
    """A copy of the rows that `which` selects: a mask or indices, shape (N,)."""
    if which.dtype == np.bool_:
        which = np.flatnonzero(which)
    if not rows.dtype.hasobject:
        return rows.take(which)  # type: ignore[return-value]
    taken = np.zeros(len(which), rows.dtype)
    for column, length in _layout(rows.dtype).byte_ranges:
        byte_view(taken, column, length)[:] = byte_view(rows, column, length)[which]
    for name in _layout(rows.dtype).objects:
        taken[name] = rows[name][which]
    return taken  # type: ignore[return-value]


def concat_rows(parts: Sequence[Rows]) -> Rows:
    """Concatenate at least one part; returns the part itself if no other has rows."""
    full = [part for part in parts if len(part)]
    if len(full) < 2:
        return full[0] if full else parts[0]
    dtype = full[0].dtype
    if not dtype.hasobject:
        plain = _layout(dtype).plain
        return np.concatenate([part.view(plain) for part in full]).view(dtype)  # type: ignore[return-value]
    whole = np.zeros(sum(map(len, full)), dtype)
    begin = 0
    for part in full:
        write_rows(whole[begin : begin + len(part)], part)
        begin += len(part)
    return whole  # type: ignore[return-value]


def concat_ordered(parts: Sequence[Rows], order: NDArray[np.intp]) -> Rows:
    """Concatenate at least one part, then take the rows in `order` (indices, shape (N,))."""
    places = np.empty(len(order), np.intp)
    places[order] = np.arange(len(order))
    whole = np.zeros(len(order), parts[0].dtype)
    begin = 0
    for part in parts:
        write_rows(whole, part, places[begin : begin + len(part)])
        begin += len(part)
    return whole  # type: ignore[return-value]


def write_rows(
    target: NDArray[Any], rows: NDArray[Any], at: NDArray[np.intp] | slice = _EVERY
) -> None:
    """Copy `rows` to `target[at]`; both have the same dtype."""
    layout = _layout(rows.dtype)
    for column, length in layout.byte_ranges:
        byte_view(target, column, length)[at] = byte_view(rows, column, length)
    for name in layout.objects:
        target[name][at] = rows[name]
