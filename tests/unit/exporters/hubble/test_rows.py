"""Copies of record rows as blocks of bytes equal numpy's copies column by column."""

import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from flowd.model.records.connection import (
    CONNECTION,
    SHARED,
    SHARED_BYTES,
    SIDE_BYTES,
    SOCKET_BYTES,
    SOCKET_SIDE,
    side,
)
from flowd.model.records.flow import FLOW
from flowd.model.records.request import REQUEST
from flowd.model.records.rows import byte_view, concat_ordered, concat_rows, copy_rows, select_rows
from flowd.model.records.share import SHARE
from flowd.model.records.socket import SOCKET
from flowd_exporters.hubble.encode.ring_row import RING_ROW, copy_to_ring

if TYPE_CHECKING:
    from collections.abc import Mapping

DTYPES = {
    "connection": CONNECTION,
    "flow": FLOW,
    "request": REQUEST,
    "share": SHARE,
    "socket": SOCKET,
}


def filled(dtype: "np.dtype[Any]", rows: int, seed: int = 1) -> NDArray[Any]:
    """Rows with random values in every column; some texts are None."""
    rng = np.random.default_rng(seed)
    array = np.zeros(rows, dtype)
    for name in dtype.names or ():
        column = array[name]
        if column.dtype.hasobject:
            texts = np.empty(rows, object)
            texts[:] = [None if n % 3 == 0 else f"{name} {seed} {n}" for n in range(rows)]
            array[name] = texts
        else:
            array[name] = rng.integers(0, 100, column.shape)
    return array


def values(rows: NDArray[Any]) -> dict[str, list[Any]]:
    """Every column as Python values."""
    return {name: rows[name].tolist() for name in rows.dtype.names or ()}


@pytest.fixture(params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> "np.dtype[Any]":
    return DTYPES[request.param]


@pytest.mark.parametrize("count", [0, 1, 40])
def test_chosen_rows_are_those_that_indexing_gives(dtype: "np.dtype[Any]", count: int) -> None:
    rows = filled(dtype, count)
    mask = np.arange(count) % 3 != 1
    for index in (mask, np.flatnonzero(mask), np.arange(count)[::-1]):
        assert values(select_rows(rows, index)) == values(rows[index])


def test_every_second_row_of_others_can_be_moved(dtype: "np.dtype[Any]") -> None:
    rows = filled(dtype, 40)[::2]
    assert values(copy_rows(rows)) == values(rows)
    assert values(select_rows(rows, np.array([3, 3, 0]))) == values(rows[[3, 3, 0]])


def test_a_copy_is_its_own(dtype: "np.dtype[Any]") -> None:
    rows = filled(dtype, 5)
    before = values(rows)
    copy = copy_rows(rows)
    assert values(copy) == before
    copy[:] = filled(dtype, 5, seed=2)
    assert values(rows) == before


def test_parts_follow_each_other(dtype: "np.dtype[Any]") -> None:
    parts = [filled(dtype, count, seed=count) for count in (3, 0, 4, 1)]
    assert values(concat_rows(parts)) == values(np.concatenate(parts))
    assert concat_rows([parts[1], parts[0]]) is parts[0]
    assert len(concat_rows([parts[1]])) == 0


def test_parts_can_be_put_in_an_order_of_all_rows(dtype: "np.dtype[Any]") -> None:
    parts = [filled(dtype, count, seed=count) for count in (3, 4)]
    order = np.array([6, 0, 3, 1, 5, 2, 4])
    assert values(concat_ordered(parts, order)) == values(np.concatenate(parts)[order])


def test_objects_are_counted() -> None:
    rows = filled(FLOW, 1)
    text = "a text of " + "its own"
    rows["url"] = text
    before = sys.getrefcount(text)
    many = select_rows(rows, np.zeros(10, np.intp))
    assert sys.getrefcount(text) == before + 10
    del many
    assert sys.getrefcount(text) == before


def test_bytes_of_columns_that_lie_together(dtype: "np.dtype[Any]") -> None:
    rows = filled(dtype, 4)
    name = next(name for name, kind in (dtype.fields or {}).items() if not kind[0].hasobject)
    length = dtype[name].itemsize
    expected = [row.tobytes() for row in np.ascontiguousarray(rows[name]).reshape(4, -1)]
    assert [one.tobytes() for one in byte_view(rows, name, length)] == expected


def test_what_flows_take_from_records_lies_alike_in_both() -> None:
    records = cast("Mapping[str, Any]", CONNECTION.fields)
    flows = cast("Mapping[str, Any]", FLOW.fields)
    names = [column[0] for column in (*SHARED, *side("src"), *side("dst"))]
    assert [records[name] for name in names] == [flows[name] for name in names]
    assert records["src_addr"][1] == SHARED_BYTES
    assert records["dst_addr"][1] == SHARED_BYTES + SIDE_BYTES
    assert records["first_ns"][1] == flows["seq"][1] == SHARED_BYTES + 2 * SIDE_BYTES
    for name in ("src", "dst"):
        last = records[f"{name}_{SOCKET_SIDE[-1][0]}"]
        assert last[1] + last[0].itemsize - records[f"{name}_cookie"][1] == SOCKET_BYTES


def test_held_rows_have_what_their_flows_have() -> None:
    rows = filled(FLOW, 6)
    ring_rows = np.zeros(6, RING_ROW)
    copy_to_ring(ring_rows, rows)
    for name in RING_ROW.names or ():
        assert ring_rows[name].tolist() == rows[name].tolist(), name
