"""Record decoders with random bytes: they give rows or none, and never raise."""

import mmap
import os
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.capture.kernel.rows import from_entries, from_events
from flowd_bpf.layout import CONNECTION, EVENT, SOCKET_EVENT
from flowd_bpf.maps.ring import BUSY, DISCARD, Ring

SIZE = 1 << 16
NANOSECONDS = 1_790_000_000_000_000_000
SEEDS = st.integers(0, 2**32 - 1)


def garbage(seed: int, dtype: "np.dtype[Any]", count: int) -> Any:
    """Rows of random bytes, some all zeros and some all ones."""
    numbers = np.random.default_rng(seed)
    rows = numbers.integers(0, 256, (count, dtype.itemsize), np.uint8)
    rows[numbers.random(count) < 0.1] = 0
    rows[numbers.random(count) < 0.1] = 255
    return rows.reshape(-1).view(dtype)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 300))
def test_any_record_is_a_row(seed: int, count: int) -> None:
    rows = from_events(garbage(seed, EVENT, count), NANOSECONDS)
    assert len(rows) == count


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 300), st.booleans())
def test_any_entry_gives_no_more_than_two_rows(seed: int, count: int, ended: bool) -> None:
    rows = from_entries(garbage(seed, CONNECTION, count), NANOSECONDS, 1, ended=ended)
    assert len(rows) <= 2 * count


def ring_of(data: bytes, written: int) -> Ring:
    """A ring as the kernel maps it, in a file: two pages of positions, then the data twice."""
    fd = os.memfd_create("ring")
    page = mmap.PAGESIZE
    try:
        os.pwrite(fd, bytes(page) + written.to_bytes(8, "little").ljust(page, b"\0"), 0)
        os.pwrite(fd, data + data, 2 * page)
        return Ring(fd, SIZE, SOCKET_EVENT)
    finally:
        os.close(fd)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, SIZE))
def test_any_bytes_in_a_ring_are_read_once(seed: int, written: int) -> None:
    slot = SOCKET_EVENT.itemsize + 8
    data = np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)
    slots = data[: written // slot * slot].reshape(-1, slot)
    headers = slots[:, :4].copy().view("u4").ravel()
    busy = np.flatnonzero(headers & BUSY)
    finished = headers[: busy[0]] if busy.size else headers
    ring = ring_of(data.tobytes(), written)
    try:
        assert len(ring.read()) == np.sum(finished & DISCARD == 0)
        if not busy.size:
            assert len(ring.read()) == 0
    finally:
        ring.close()
