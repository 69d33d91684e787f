"""One file that is read as it grows, by its open descriptor, whatever becomes of its name."""

import os
import stat
from typing import NamedTuple

from flowd.accesslog.lines_to_rows import MAX_LINE
from flowd.capture.logs.wrapping import Unwrapper
from flowd.model.losses import Losses, Place

CHUNK = 256 << 10
HEAD = 64
"""Bytes at a file's start by which it is known again."""


class Position(NamedTuple):
    """How far a file was read: the offset after the last whole line, and which file it was."""

    device: int
    inode: int
    head: str
    offset: int


class Tail:
    """Reads whole lines of a file from an offset on.

    A file that became shorter, or begins otherwise than it did, was truncated: it is read from its
    start again.

    Raises:
        OSError: it cannot be opened, or is no regular file.
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
        self._offset = self._whole = 0
        self._head = self._read_head()
        self._rest = b""
        self._cutting = False
        self._losses = losses
        self._wrapping = Unwrapper(losses)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def to_end(self) -> None:
        """Start with what is written from now on."""
        self._offset = self._whole = self._size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._cutting = True  # in the middle of a line, whose rest is no entry

    def resume(self, position: Position) -> bool:
        """Start where an earlier reader of this very file ended; False when it is another one."""
        same = (position.device, position.inode) == self.key
        head = bytes.fromhex(position.head)
        if not same or position.offset > self._size or not self._head.startswith(head):
            return False
        self._offset = self._whole = position.offset
        return True

    @property
    def position(self) -> Position:
        """Where a later reader can go on without losing or repeating a line."""
        return Position(*self.key, self._head[: self._whole].hex(), self._whole)

    def lines(self) -> list[bytes]:
        """The next whole lines, of at most CHUNK bytes; none when there is nothing new."""
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
        if whole and self._cutting:
            whole, self._cutting = whole[1:], False
        elif self._cutting:
            rest = b""
        if len(rest) > MAX_LINE:
            whole.append(self._cut(rest))
            rest, self._cutting = b"", True
        self._rest = rest
        lines = [line for raw in whole if (line := self._wrapping.feed(self._cut(raw))) is not None]
        if not self._wrapping.waiting and not self._cutting:
            self._whole = self._offset - len(rest)
        return lines

    def _cut(self, line: bytes) -> bytes:
        if len(line) <= MAX_LINE:
            return line
        self._losses.add(Place.ACCESS_LOG, "line_too_long")
        return line[:MAX_LINE]

    def _restart(self) -> None:
        self._offset = self._whole = 0
        self._rest, self._cutting = b"", False
        self._head = b""
        self._wrapping = Unwrapper(self._losses)

    def _read_head(self) -> bytes:
        return os.pread(self._fd, HEAD, 0)
