"""Moving whole rows of structured arrays: as plain bytes, not column by column as numpy does.

Between two arrays of a structured dtype numpy copies each column of each row by itself, which for
a row of sixty columns takes fifty times as long as copying its bytes. Objects are counted and so
cannot be copied like this; they are moved column by column, and the bytes between them as bytes.
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
class _Layout:
    """Where a dtype has objects, and the stretches of plain bytes between them."""

    objects: tuple[str, ...]
    stretches: tuple[tuple[str, int], ...]  # first column and length in bytes
    plain: "np.dtype[np.void]"


@cache
def _layout(dtype: "np.dtype[Any]") -> _Layout:
    fields = sorted((dtype.fields or {}).items(), key=lambda field: field[1][1])
    objects = tuple(name for name, field in fields if field[0].hasobject)
    stretches: list[tuple[str, int]] = []
    ends = [*(field[1] for name, field in fields if name in objects), dtype.itemsize]
    begin = 0
    for end in ends:
        if end > begin:
            first = next(name for name, field in fields if field[1] >= begin)
            stretches.append((first, end - begin))
        begin = end + np.dtype(object).itemsize
    return _Layout(objects, tuple(stretches), np.dtype(f"V{dtype.itemsize}"))


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


def plain_bytes(rows: NDArray[Any], column: str, length: int) -> NDArray[np.void]:
    """A view, shape (N,), of `length` bytes of each row from a column on, none of them an object's.

    A multiple of the size of the column's values. numpy views nothing that has objects as something
    else, so of such rows it is the column that is stretched.
    """
    if not rows.dtype.hasobject:
        return rows.view(_window(rows.dtype, column, length))["bytes"]
    values = rows[column]
    width = values.dtype.itemsize
    grid = as_strided(values, (len(rows), length // width), (rows.strides[0], width))
    return grid.view(np.dtype(f"V{length}"))[:, 0]


def copied(rows: Rows) -> Rows:
    """A copy of the rows."""
    if rows.dtype.hasobject:
        return chosen(rows, np.arange(len(rows)))
    return rows.view(_layout(rows.dtype).plain).copy().view(rows.dtype)  # type: ignore[return-value]


def chosen(rows: Rows, which: NDArray[Any]) -> Rows:
    """A copy of the rows that a mask or indices, shape (N,), choose."""
    if which.dtype == np.bool_:
        which = np.flatnonzero(which)
    if not rows.dtype.hasobject:
        return rows.take(which)  # type: ignore[return-value]
    taken = np.zeros(len(which), rows.dtype)
    for column, length in _layout(rows.dtype).stretches:
        plain_bytes(taken, column, length)[:] = plain_bytes(rows, column, length)[which]
    for name in _layout(rows.dtype).objects:
        taken[name] = rows[name][which]
    return taken  # type: ignore[return-value]


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, at least one, in order; the part itself where only one has any."""
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
        write(whole[begin : begin + len(part)], part)
        begin += len(part)
    return whole  # type: ignore[return-value]


def arranged(parts: Sequence[Rows], order: NDArray[np.intp]) -> Rows:
    """The rows of all parts, at least one, in this order of them."""
    places = np.empty(len(order), np.intp)
    places[order] = np.arange(len(order))
    whole = np.zeros(len(order), parts[0].dtype)
    begin = 0
    for part in parts:
        write(whole, part, places[begin : begin + len(part)])
        begin += len(part)
    return whole  # type: ignore[return-value]


def write(target: NDArray[Any], rows: NDArray[Any], at: NDArray[np.intp] | slice = _EVERY) -> None:
    """Set the rows of `target` at these places to `rows`, which are of the same dtype."""
    layout = _layout(rows.dtype)
    for column, length in layout.stretches:
        plain_bytes(target, column, length)[at] = plain_bytes(rows, column, length)
    for name in layout.objects:
        target[name][at] = rows[name]
