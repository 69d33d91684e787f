"""Flow rows as the ring holds them: the columns that Hubble's API tells of, in few bytes."""

from sys import intern

import numpy as np

from flowd.model.enums import FlowType
from flowd.model.records.flow import FLOW, FlowRows
from flowd.model.records.rows import plain_bytes

_LEFT_OUT = frozenset(
    [
        "conn_id",
        *("total_bytes_fwd", "total_bytes_rev", "total_packets_fwd", "total_packets_rev"),
    ]
)
_COLUMNS = [name for name in FLOW.names or () if name not in _LEFT_OUT]

HELD = np.dtype([(name, FLOW[name]) for name in _COLUMNS], align=True)
"""FLOW without the columns that no client is told of; `headers` are Headers."""

_TEXT = [name for name in _COLUMNS if HELD[name].hasobject]
_BYTES = HELD.itemsize - len(_TEXT) * np.dtype(object).itemsize

_MOST_SHARED = 8192
_LONGEST_SHARED = 256


class Headers(tuple[str, ...]):
    """Headers of a request as names and values in turn, a third of a dict's bytes."""

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """The value under a name."""
        for place in range(0, len(self), 2):
            if self[place] == name:
                return self[place + 1]
        return None

    def items(self) -> list[tuple[str, str]]:
        """Names and values."""
        return list(zip(self[::2], self[1::2], strict=True))


def hold(target: FlowRows, rows: FlowRows) -> None:
    """Set rows of HELD to those of FLOW, in which the columns left out come before all others."""
    first = _COLUMNS[0]
    plain_bytes(target, first, _BYTES)[:] = plain_bytes(rows, first, _BYTES)
    for name in _TEXT:
        target[name] = rows[name]


class Texts:
    """Keeps one object of texts that come again and again, such as paths and user agents."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def share(self, rows: FlowRows) -> None:
        """Put the known objects into rows of HELD, which no one else sees."""
        places = np.flatnonzero(rows["type"] == FlowType.L7)
        if not len(places):
            return
        for name, share in (("url", self._text), ("headers", self._headers)):
            column = rows[name]
            for place, value in zip(places.tolist(), column[places].tolist(), strict=True):
                if value is not None:
                    column[place] = share(value)

    def _headers(self, held: dict[str, str]) -> Headers:
        return Headers(
            [part for name, value in held.items() for part in (intern(name), self._text(value))]
        )

    def _text(self, text: str) -> str:
        if len(text) > _LONGEST_SHARED:
            return text
        if len(self._known) >= _MOST_SHARED:
            self._known.clear()
        return self._known.setdefault(text, text)
