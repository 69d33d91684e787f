"""RING_ROW: the dtype of flow rows in the ring, with compact headers and interned strings."""

from sys import intern

import numpy as np

from flowd.model.enums import FlowType
from flowd.model.records.flow import FLOW, FlowRows
from flowd.model.records.rows import byte_view

_OMITTED = frozenset(
    [
        "conn_id",
        *("total_bytes_fwd", "total_bytes_rev", "total_packets_fwd", "total_packets_rev"),
    ]
)
_COLUMNS = [name for name in FLOW.names or () if name not in _OMITTED]

RING_ROW = np.dtype([(name, FLOW[name]) for name in _COLUMNS], align=True)
"""FLOW without the columns that the API does not have; `headers` are HeaderPairs."""

_TEXT = [name for name in _COLUMNS if RING_ROW[name].hasobject]
_BYTES = RING_ROW.itemsize - len(_TEXT) * np.dtype(object).itemsize

_MAX_INTERNED = 8192
_MAX_INTERNED_LENGTH = 256


class HeaderPairs(tuple[str, ...]):
    """Headers of a request as alternating names and values, a third of a dict's bytes."""

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """Value of the first header with a name; None without one."""
        for place in range(0, len(self), 2):
            if self[place] == name:
                return self[place + 1]
        return None

    def items(self) -> list[tuple[str, str]]:
        """Names and values."""
        return list(zip(self[::2], self[1::2], strict=True))


def copy_to_ring(target: FlowRows, rows: FlowRows) -> None:
    """Copy rows of dtype FLOW into rows of dtype RING_ROW.

    The omitted columns are the first ones of FLOW, so that the plain columns are one block of bytes.
    """
    first = _COLUMNS[0]
    byte_view(target, first, _BYTES)[:] = byte_view(rows, first, _BYTES)
    for name in _TEXT:
        target[name] = rows[name]


class StringPool:
    """Interns strings that repeat, such as paths and user agents."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def intern(self, rows: FlowRows) -> None:
        """Replace urls and headers in rows of dtype RING_ROW by interned ones, in place."""
        places = np.flatnonzero(rows["type"] == FlowType.L7)
        if not len(places):
            return
        for name, interned in (("url", self._text), ("headers", self._headers)):
            column = rows[name]
            for place, value in zip(places.tolist(), column[places].tolist(), strict=True):
                if value is not None:
                    column[place] = interned(value)

    def _headers(self, headers: dict[str, str]) -> HeaderPairs:
        return HeaderPairs(
            [part for name, value in headers.items() for part in (intern(name), self._text(value))]
        )

    def _text(self, text: str) -> str:
        if len(text) > _MAX_INTERNED_LENGTH:
            return text
        if len(self._known) >= _MAX_INTERNED:
            self._known.clear()
        return self._known.setdefault(text, text)
