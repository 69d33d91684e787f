"""RotatingFile: append whole lines to a file, and rotate it when it is full."""

import gzip
import logging
import os
import re
import shutil
import stat
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger(__name__)

STDOUT = "stdout"
"""The path of standard output, as in Hubble."""


class RotatingFile:
    """Appends lines; a full file becomes `<stem>-<UTC time><suffix>[.gz]` beside the new one.

    A path that is no regular file (a pipe, a terminal) is written to and never rotated. The methods
    may be called in any thread; a lock serializes them.

    Args:
        max_size: bound of a file in bytes; a single longer line is still written.
        max_backups: bound on the number of rotated files; 0 keeps all.
        compress: whether rotated files are compressed with gzip.
    """

    def __init__(self, path: Path, max_size: int, max_backups: int, compress: bool) -> None:
        self.path = path
        self._max_size = max_size
        self._max_backups = max_backups
        self._compress = compress
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._regular = True
        self._identity = (0, 0)

    def open(self) -> None:
        """Open for appending; an unfinished last line gets its newline.

        Raises:
            OSError: the file cannot be opened.
        """
        with self._lock:
            self._ensure_open()

    def write(self, lines: list[bytes]) -> tuple[int, OSError | None]:
        """Append lines; returns the number of lines written whole, and the error that ended the write."""
        done = 0
        with self._lock:
            try:
                while done < len(lines):
                    file = self._ensure_open()
                    if (
                        self._regular
                        and self._size
                        and self._size + len(lines[done]) > self._max_size
                    ):
                        self._rotate(file)
                        continue
                    end = self._fit(lines, done)
                    self._append(file, b"".join(lines[done:end]))
                    done = end
            except OSError as error:
                self._close()
                return done, error
        return done, None

    def close(self) -> None:
        """Flush to the disk and close."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError):
                    os.fsync(self._file)
            self._close()

    def _fit(self, lines: list[bytes], start: int) -> int:
        """End index of the lines from `start` on that fit into the file, at least start + 1."""
        size = self._size + len(lines[start])
        end = start + 1
        while end < len(lines) and (not self._regular or size + len(lines[end]) <= self._max_size):
            size += len(lines[end])
            end += 1
        return end

    def _ensure_open(self) -> int:
        """File descriptor of the open file; a moved or removed file is opened anew."""
        if self._file is not None:
            if str(self.path) == STDOUT:
                return self._file
            with suppress(OSError):
                status = os.stat(self.path)
                if (status.st_dev, status.st_ino) == self._identity:
                    return self._file
            self._close()
        if str(self.path) == STDOUT:
            self._file, self._regular = os.dup(1), False
            return self._file
        flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._file = os.open(self.path, flags | os.O_WRONLY, 0o644)
        os.set_blocking(self._file, True)
        status = os.fstat(self._file)
        self._regular = stat.S_ISREG(status.st_mode)
        self._size = status.st_size if self._regular else 0
        self._identity = (status.st_dev, status.st_ino)
        if self._size and not self._ends_with_newline():
            self._append(self._file, b"\n")
        return self._file

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _append(self, file: int, data: bytes) -> None:
        """Write all of data; on an error truncate a regular file to its size before."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError:
            if self._regular:
                with suppress(OSError):
                    os.ftruncate(file, self._size)
            raise
        self._size += len(data)

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def _rotate(self, file: int) -> None:
        with suppress(OSError):
            os.fsync(file)
        backup = self._backup_name()
        os.rename(self.path, backup)
        self._close()
        try:
            if self._compress:
                _compress(backup)
            self._prune()
        except OSError as error:
            log.warning("flow log backup", extra={"path": str(backup), "reason": error.strerror})

    def _backup_name(self) -> Path:
        now = datetime.now(UTC)
        moment = f"{now:%Y-%m-%dT%H-%M-%S}.{now.microsecond:06d}"
        return self.path.with_name(f"{self.path.stem}-{moment}{self.path.suffix}")

    def _prune(self) -> None:
        """Remove the oldest backups above `max_backups`."""
        if not self._max_backups:
            return
        stem, suffix = re.escape(self.path.stem), re.escape(self.path.suffix)
        form = re.compile(rf"{stem}-\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{6}}{suffix}(\.gz)?")
        backups = sorted(one for one in self.path.parent.iterdir() if form.fullmatch(one.name))
        for old in backups[: -self._max_backups]:
            old.unlink(missing_ok=True)


def _compress(path: Path) -> None:
    """Replace a file by its gzip form; the original is removed last."""
    partial = path.with_name(path.name + ".gz.part")
    try:
        with path.open("rb") as plain, gzip.open(partial, "wb", compresslevel=6) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
        partial.replace(path.with_name(path.name + ".gz"))
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    path.unlink()
