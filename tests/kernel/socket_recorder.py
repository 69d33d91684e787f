"""Query the socket rows of a capture."""

import socket
import struct
from collections.abc import Callable

import numpy as np

from flowd.model.enums import SocketAlso, SocketReason
from flowd.model.records.socket import SocketBatch, empty_sockets
from tests.kernel.recorder import Recorder, eventually

SO_COOKIE = 57
_ALSO = {
    SocketReason.ESTABLISHED: SocketAlso.ESTABLISHED,
    SocketReason.RESET_RECEIVED: SocketAlso.RESET_RECEIVED,
}


def cookie(one: socket.socket) -> int:
    """The kernel's number for a socket (SO_COOKIE, socket(7))."""
    return int(struct.unpack("Q", one.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


class Reported:
    """All socket rows of a capture so far, including sockets of other programs on this machine."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._rows = empty_sockets()

    def rows(self, number: int = 0, *reasons: SocketReason) -> SocketBatch:
        """Rows of the given reasons, optionally of one socket cookie."""
        self._rows = np.concatenate([self._rows, self._recorder.capture.take_sockets()])
        rows = self._rows
        if number:
            rows = rows[rows["cookie"] == number]
        if not reasons:
            return rows
        also = [one for reason, one in _ALSO.items() if reason in reasons]
        return rows[np.isin(rows["reason"], reasons) | (rows["also"] & sum(also) != 0)]

    async def until(
        self, number: int, *reasons: SocketReason, met: Callable[[SocketBatch], bool] | None = None
    ) -> SocketBatch:
        """Wait for rows of a socket with these reasons that meet a condition, by default any."""
        await eventually(lambda: (met or len)(self.rows(number, *reasons)) not in (False, 0))
        return self.rows(number, *reasons)
