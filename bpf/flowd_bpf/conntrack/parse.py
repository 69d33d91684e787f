"""Parse conntrack netlink messages into ENTRY rows, column by column.

Messages of one protocol and family have their attributes at equal offsets. The offsets come from
one message, are checked against all others of its length, and are read as whole columns.
Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
CT_NEW, CT_DELETE = 0, 2
TUPLE_ORIG, TUPLE_REPLY = 1, 2
BODY = 20  # offset behind nlmsghdr and nfgenmsg
TYPE_MASK = 0x3FFF
ECHO_REQUEST = (8, 128)
DEPTH = 3  # tuple, then addresses or ports, then the value

ENTRY = np.dtype(
    [
        (
            "src_addr",
            "u1",
            (16,),
        ),  # original direction, as the initiator sees it; IPv4 as ::ffff:a.b.c.d
        ("dst_addr", "u1", (16,)),
        ("nat_src_addr", "u1", (16,)),  # inverse of the reply direction, as the responder sees it
        ("nat_dst_addr", "u1", (16,)),
        ("src_port", "u2"),  # of an ICMP echo the identifier, in both ports
        ("dst_port", "u2"),
        ("nat_src_port", "u2"),
        ("nat_dst_port", "u2"),
        ("protocol", "u1"),
        ("ended", "?"),
    ],
    align=True,
)

Entries = NDArray[Any]
Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]

_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class _MessageLayout:
    """Offsets of the attribute headers and values in a message."""

    headers: Offsets  # of every byte of the headers that must be equal
    values: dict[tuple[int, ...], int]  # path of attribute types to offset
    icmp: int  # type of an ICMP message, -1 for other protocols


def parse(data: Bytes, starts: Offsets) -> Entries:
    """Parse messages into ENTRY rows of translated connections, in the order of the messages.

    Args:
        data: bytes, shape (N,), aligned to four.
        starts: offsets of complete messages, shape (M,), multiples of four.

    Returns:
        Rows, shape (K,). Skipped are messages other than new or destroyed entries, incomplete
        tuples, ICMP other than echo, and entries whose reply is the plain inverse of the original.
    """
    lengths = data.view("u4")[starts // 4].astype(np.int64)
    kinds = data.view("u2")[starts // 2 + 2].astype(np.int64)
    wanted = (lengths >= BODY) & np.isin(
        kinds, [SUBSYSTEM << 8 | CT_NEW, SUBSYSTEM << 8 | CT_DELETE]
    )
    starts, lengths, kinds = starts[wanted], lengths[wanted], kinds[wanted]
    rows = np.zeros(len(starts), ENTRY)
    rows["ended"] = kinds & 0xFF == CT_DELETE
    keep = np.zeros(len(starts), np.bool_)
    for length in np.unique(lengths).tolist():
        pending = np.flatnonzero(lengths == length)
        while len(pending):
            first = int(starts[pending[0]])
            layout = _message_layout(data[first : first + length].tobytes())
            if layout is None:
                pending = pending[1:]
                continue
            headers = data[starts[pending][:, None] + layout.headers]
            same = (headers == headers[0]).all(axis=1)
            keep[pending[same]] = _fill(rows, pending[same], data, starts, layout)
            pending = pending[~same]
    keep &= _translated(rows)
    return rows[keep]


def _translated(rows: Entries) -> NDArray[np.bool_]:
    changed = np.zeros(len(rows), np.bool_)
    for side in ("src", "dst"):
        changed |= (rows[f"{side}_addr"] != rows[f"nat_{side}_addr"]).any(axis=1)
        changed |= rows[f"{side}_port"] != rows[f"nat_{side}_port"]
    return changed


def _fill(
    rows: Entries, indexes: Offsets, data: Bytes, starts: Offsets, layout: _MessageLayout
) -> NDArray[np.bool_]:
    """Write messages of one layout into rows; returns a mask of those to keep."""

    def column(path: tuple[int, ...], size: int) -> Bytes:
        return data[starts[indexes][:, None] + layout.values[path] + np.arange(size)]

    def port(path: tuple[int, ...]) -> NDArray[np.uint16]:
        wide = column(path, 2).astype(np.uint16)
        return wide[:, 0] << np.uint16(8) | wide[:, 1]

    for tuple_, prefix, ends in (
        (TUPLE_ORIG, "", ("src", "dst")),
        (TUPLE_REPLY, "nat_", ("dst", "src")),
    ):
        version4 = (tuple_, 1, 1) in layout.values
        for number, end in enumerate(ends):
            address = rows[f"{prefix}{end}_addr"]
            if version4:
                address[indexes, 10:12] = 255
                address[indexes, 12:] = column((tuple_, 1, 1 + number), 4)
            else:
                address[indexes] = column((tuple_, 1, 3 + number), 16)
            if layout.icmp >= 0:
                rows[f"{prefix}{end}_port"][indexes] = port((tuple_, 2, 4 if version4 else 7))
            elif (tuple_, 2, 2 + number) in layout.values:
                rows[f"{prefix}{end}_port"][indexes] = port((tuple_, 2, 2 + number))
    rows["protocol"][indexes] = column((TUPLE_ORIG, 2, 1), 1)[:, 0]
    if layout.icmp < 0:
        return np.ones(len(indexes), np.bool_)
    kinds = column((TUPLE_ORIG, 2, 5 if (TUPLE_ORIG, 1, 1) in layout.values else 8), 1)[:, 0]
    return np.isin(kinds, ECHO_REQUEST)


def _message_layout(message: bytes) -> _MessageLayout | None:
    """Offsets of the two tuples in a message, or None when one is incomplete."""
    headers: list[int] = []
    values: dict[tuple[int, ...], int] = {}
    sizes: dict[tuple[int, ...], int] = {}

    def walk(at: int, end: int, path: tuple[int, ...]) -> None:
        for kind, begin, stop in _attributes(message, at, end):
            inner = (*path, kind)
            if not path and kind not in (TUPLE_ORIG, TUPLE_REPLY):
                continue
            headers.append(begin - _ATTRIBUTE.size)
            if len(inner) < DEPTH and kind in (1, 2):
                walk(begin, stop, inner)
            elif len(inner) == DEPTH:
                values[inner], sizes[inner] = begin, stop - begin

    walk(BODY, len(message), ())
    icmp = -1
    for tuple_ in (TUPLE_ORIG, TUPLE_REPLY):
        version4 = (tuple_, 1, 1) in values
        needed = {(tuple_, 1, kind): 4 for kind in (1, 2)}
        if not version4:
            needed = {(tuple_, 1, kind): 16 for kind in (3, 4)}
        needed[tuple_, 2, 1] = 1
        echo = (4, 5) if version4 else (7, 8)
        if (tuple_, 2, echo[0]) in values:
            needed |= {(tuple_, 2, echo[0]): 2, (tuple_, 2, echo[1]): 1}
            icmp = echo[1]
        elif (tuple_, 2, 2) in values:
            needed |= {(tuple_, 2, 2): 2, (tuple_, 2, 3): 2}
        if any(sizes.get(path, 0) < size for path, size in needed.items()):
            return None
        if icmp >= 0 and (tuple_, 2, icmp) not in values:
            return None
    offsets = np.array(headers, np.int64)[:, None] + np.arange(_ATTRIBUTE.size)
    return _MessageLayout(offsets.reshape(-1), values, icmp)


def _attributes(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, and start and end of the value, of each attribute."""
    while at + _ATTRIBUTE.size <= end:
        size, kind = _ATTRIBUTE.unpack_from(message, at)
        if size < _ATTRIBUTE.size or at + size > end:
            return
        yield kind & TYPE_MASK, at + _ATTRIBUTE.size, at + size
        at += (size + 3) & ~3
