"""Follow access-log files as `tail -F` does: growth, rotation, truncation, and new files."""

import asyncio
import glob
import logging
import os
import time
from collections.abc import Sequence

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.snippet import Format
from flowd.capture.logs.positions import Positions
from flowd.capture.logs.tail import Position, Tail
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Queue
from flowd.text import count

log = logging.getLogger(__name__)
PART = "access-log"
POLL_SECONDS = 0.25
SCAN_SECONDS = 1.0
SAVE_SECONDS = 5.0
LINGER_SECONDS = 5.0
"""Time for which a renamed or removed file is still read, because Envoy can still write to it."""
MAX_FILES = 1024
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


class FileSource:
    """Follows the files of paths and globs.

    A file that exists at the first start is read from its end, or from the position of an earlier
    agent. A file that appears later, or was rotated while no agent ran, is read from its start.
    Files are identified by device and inode, so a rename neither loses nor repeats a line.

    Args:
        paths: file names and globs; compressed files are skipped.
        losses: `too_many_files` under Place.ACCESS_LOG, and the losses of LineParser.
        formats: configured formats, as in LineParser.
        state_dir: folder for the positions; "" keeps none.
    """

    def __init__(
        self,
        paths: Sequence[str],
        losses: Losses,
        formats: Sequence[Format] = (),
        state_dir: str = "",
    ) -> None:
        self._paths = list(paths)
        self._losses = losses
        self._formats = formats
        self._positions = Positions(state_dir)
        self._tails: dict[tuple[int, int], tuple[Tail, LineParser]] = {}
        self._failed: dict[str, str] = {}
        self._entries = 0
        self._closed_intermediate = 0  # intermediate entries of closed files
        self._scanned = False
        self._over_limit = False
        self._out: Queue[RequestBatch] | None = None

    async def run(self, out: Queue[RequestBatch]) -> None:
        """Put entries into `out` until cancelled; pauses while the queue is half full."""
        self._out = out
        self._scan(time.monotonic())
        scanned = saved = time.monotonic()
        while True:
            busy = await self._read(out)
            now = time.monotonic()
            if now - scanned >= SCAN_SECONDS:
                self._scan(now)
                scanned = now
            if now - saved >= SAVE_SECONDS:
                self._save()
                saved = now
            await asyncio.sleep(0 if busy else POLL_SECONDS)

    async def close(self) -> None:
        """Read the files to their ends, save the positions, and close the files."""
        if self._out is not None:
            self._scan(time.monotonic())
            for tail, parser in self._tails.values():
                while self._next(tail, parser):
                    pass
            self._save()
        for tail, _ in self._tails.values():
            tail.close()
        self._tails.clear()

    @property
    def received(self) -> int:
        """Total of received entries, including intermediate ones."""
        return self._entries + self._intermediate

    @property
    def _intermediate(self) -> int:
        return self._closed_intermediate + sum(
            parser.intermediate for _, parser in self._tails.values()
        )

    def status(self) -> Sequence[PartStatus]:
        """Numbers of files and entries, and the first file that cannot be read."""
        detail = f"files {len(self._tails)}, entries {count(self._entries)}"
        if left_out := self._intermediate:
            detail += f", intermediate ones left out {count(left_out)}"
        if self._failed:
            detail += f", {next(iter(self._failed.values()))}"
        return [PartStatus(PART, State.DEGRADED if self._failed else State.ON, detail)]

    async def _read(self, out: Queue[RequestBatch]) -> bool:
        """Read one chunk of every file; returns whether any file had new data."""
        busy = False
        for tail, parser in list(self._tails.values()):
            if out.held > out.limit // 2:
                return False  # the data stays in the file until the next poll
            busy |= self._next(tail, parser)
            await asyncio.sleep(0)
        return busy

    def _next(self, tail: Tail, parser: LineParser) -> bool:
        try:
            before = tail.position
            lines = tail.lines()
        except OSError as error:
            self._failed[tail.path] = f"{tail.path}: {error.strerror or error}"
            return False
        for line in lines:
            parser.add(line)
        batch = parser.take()
        if len(batch) and self._out is not None:
            batch["log_name"] = tail.path[:1024]
            self._entries += len(batch)
            self._out.put(batch)
        if lines and tail.gone_since:
            tail.gone_since = time.monotonic()
        return bool(lines) or tail.position != before

    def _scan(self, now: float) -> None:
        """Open new files, and close files that were removed or renamed LINGER_SECONDS ago."""
        present: set[tuple[int, int]] = set()
        for path in self._glob():
            try:
                info = os.stat(path)
                key = info.st_dev, info.st_ino
                if key in self._tails:
                    self._tails[key][0].path = path
                    self._tails[key][0].gone_since = 0.0
                elif not self._open(path):
                    continue
                present.add(key)
                self._failed.pop(path, None)
            except FileNotFoundError:
                continue  # the file was removed since the glob, or does not exist yet
            except OSError as error:
                if path not in self._failed:
                    log.warning("access log cannot be read: %s: %s", path, error.strerror or error)
                self._failed[path] = f"{path}: {error.strerror or error}"
        for key in self._tails.keys() - present:
            self._linger(key, now)
        self._scanned = True

    def _glob(self) -> list[str]:
        found: list[str] = []
        for path in self._paths:
            names = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]
            found += [name for name in names if not name.endswith(_COMPRESSED)]
        return found

    def _open(self, path: str) -> bool:
        if len(self._tails) >= MAX_FILES:
            if not self._over_limit:
                log.warning("more than %d access logs: %s is not read", MAX_FILES, path)
                self._losses.add(Place.ACCESS_LOG, "too_many_files")
            self._over_limit = True
            return False
        tail = Tail(path, self._losses)
        if not self._scanned:
            known = self._positions.known
            same = [each for each in known.values() if (each.device, each.inode) == tail.key]
            if same:
                tail.resume(same[0])
            elif path not in known:
                tail.seek_to_end()
        parser = LineParser(self._losses, self._formats)
        self._tails[tail.key] = tail, parser
        return True

    def _linger(self, key: tuple[int, int], now: float) -> None:
        tail, parser = self._tails[key]
        tail.gone_since = tail.gone_since or now
        if now - tail.gone_since > LINGER_SECONDS and not self._next(tail, parser):
            tail.close()
            self._closed_intermediate += parser.intermediate
            del self._tails[key]

    def _save(self) -> None:
        positions: dict[str, Position] = {}
        for tail, _ in self._tails.values():
            if not tail.gone_since:
                positions[tail.path] = tail.position
        self._positions.save(positions)
