"""Read whole lines of one growing file through its open descriptor, independent of its name."""

import os
import stat
from typing import NamedTuple

from flowd.accesslog.lines_to_rows import MAX_LINE
from flowd.capture.logs.wrapping import Unwrapper
from flowd.model.losses import Losses, Place

CHUNK = 256 << 10
HEAD = 64
"""Bytes at the start of a file that identify it beside device and inode."""


class Position(NamedTuple):
    """The offset after the last whole line that was read, and the identity of the file.

    Attributes:
        head: the first bytes of the file, at most HEAD, in hex.
    """

    device: int
    inode: int
    head: str
    offset: int


class Tail:
    """Reads whole lines of a file from an offset on.

    A file that became shorter, or whose first bytes changed, was truncated and is read from its
    start again.

    Attributes:
        key: device and inode.
        gone_since: monotonic time since which no path names the file, 0 while one does.

    Raises:
        OSError: the file cannot be opened, or is no regular file.
    """

    def __init__(self, path: str, losses: Losses) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        info = os.fstat(self._fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(self._fd)
            raise OSError(f"{path} is not a regular file")
        self.key = info.st_dev, info.st_ino
        self.gone_since = 0.0
        self._size = info.st_size
        self._offset = self._line_end = 0
        self._head = self._read_head()
        self._rest = b""
        self._skipping = False
        self._losses = losses
        self._wrapping = Unwrapper(losses)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def seek_to_end(self) -> None:
        """Skip the lines written so far."""
        self._offset = self._line_end = self._size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._skipping = True  # the rest of an incomplete line is no entry

    def resume(self, position: Position) -> bool:
        """Continue at a saved position; returns False if it is of another file."""
        same = (position.device, position.inode) == self.key
        head = bytes.fromhex(position.head)
        if not same or position.offset > self._size or not self._head.startswith(head):
            return False
        self._offset = self._line_end = position.offset
        return True

    @property
    def position(self) -> Position:
        """The position from which a later reader neither loses nor repeats a line."""
        return Position(*self.key, self._head[: self._line_end].hex(), self._line_end)

    def lines(self) -> list[bytes]:
        """The next whole lines, of at most CHUNK bytes, without container runtimes' framing."""
        size = os.fstat(self._fd).st_size
        if size == self._offset and size == self._size:
            return []
        if size < self._offset or self._read_head()[: len(self._head)] != self._head:
            self._restart()
        self._size = size
        if len(self._head) < HEAD:
            self._head = self._read_head()
        data = os.pread(self._fd, CHUNK, self._offset)
        self._offset += len(data)
        *whole, rest = (self._rest + data).split(b"\n")
        if whole and self._skipping:
            whole, self._skipping = whole[1:], False
        elif self._skipping:
            rest = b""
        if len(rest) > MAX_LINE:
            whole.append(self._truncate(rest))
            rest, self._skipping = b"", True
        self._rest = rest
        lines = [
            line for raw in whole if (line := self._wrapping.feed(self._truncate(raw))) is not None
        ]
        if not self._wrapping.waiting and not self._skipping:
            self._line_end = self._offset - len(rest)
        return lines

    def _truncate(self, line: bytes) -> bytes:
        if len(line) <= MAX_LINE:
            return line
        self._losses.add(Place.ACCESS_LOG, "line_too_long")
        return line[:MAX_LINE]

    def _restart(self) -> None:
        self._offset = self._line_end = 0
        self._rest, self._skipping = b"", False
        self._head = b""
        self._wrapping = Unwrapper(self._losses)

    def _read_head(self) -> bytes:
        return os.pread(self._fd, HEAD, 0)
