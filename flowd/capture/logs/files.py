"""Access-log files, followed as they grow: rotation, truncation, files that come later."""

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
LOOK_SECONDS = 1.0
SAVE_SECONDS = 5.0
LINGER_SECONDS = 5.0
"""How long a file that was renamed or removed is still read: Envoy may go on writing to it."""
MAX_FILES = 1024
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


class FileSource:
    """Follows the files that paths and globs name.

    A file that is there at the first start is read from its end, or from where an earlier agent
    ended; one that appears later, or was rotated while no agent ran, from its start. A file is known
    by device and inode, so a rename neither loses nor repeats a line.

    Args:
        state_dir: folder in which positions are kept; "" keeps none.
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
        self._left_out = 0  # of files that are closed
        self._looked = False
        self._over = 0
        self._out: Queue[RequestBatch] | None = None

    async def run(self, out: Queue[RequestBatch]) -> None:
        """Put entries into `out` until cancelled; reads nothing while the queue is half full."""
        self._out = out
        self._look(time.monotonic())
        looked = saved = time.monotonic()
        while True:
            busy = await self._read(out)
            now = time.monotonic()
            if now - looked >= LOOK_SECONDS:
                self._look(now)
                looked = now
            if now - saved >= SAVE_SECONDS:
                self._save()
                saved = now
            await asyncio.sleep(0 if busy else POLL_SECONDS)

    async def close(self) -> None:
        """Take in what was written until now, keep the positions, and close the files."""
        if self._out is not None:
            self._look(time.monotonic())
            for tail, parser in self._tails.values():
                while self._next(tail, parser):
                    pass
            self._save()
        for tail, _ in self._tails.values():
            tail.close()
        self._tails.clear()

    @property
    def received(self) -> int:
        """Entries so far, intermediate ones too."""
        return self._entries + self._intermediate

    @property
    def _intermediate(self) -> int:
        return self._left_out + sum(parser.intermediate for _, parser in self._tails.values())

    def status(self) -> Sequence[PartStatus]:
        """Files followed, entries read, and what cannot be opened."""
        detail = f"files {len(self._tails)}, entries {count(self._entries)}"
        if left_out := self._intermediate:
            detail += f", intermediate ones left out {count(left_out)}"
        if self._failed:
            detail += f", {next(iter(self._failed.values()))}"
        return [PartStatus(PART, State.DEGRADED if self._failed else State.ON, detail)]

    async def _read(self, out: Queue[RequestBatch]) -> bool:
        """One chunk of every file; whether there was anything."""
        busy = False
        for tail, parser in list(self._tails.values()):
            if out.held > out.limit // 2:
                return False  # what is in a file can wait: ask again after the usual pause
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

    def _look(self, now: float) -> None:
        """Open what is new under the paths, and let go of what has been gone for long enough."""
        present: set[tuple[int, int]] = set()
        for path in self._found():
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
                continue  # it went away in between, or is not there yet
            except OSError as error:
                if path not in self._failed:
                    log.warning("access log cannot be read: %s: %s", path, error.strerror or error)
                self._failed[path] = f"{path}: {error.strerror or error}"
        for key in self._tails.keys() - present:
            self._leave(key, now)
        self._looked = True

    def _found(self) -> list[str]:
        found: list[str] = []
        for path in self._paths:
            names = sorted(glob.glob(path, recursive=True)) if glob.has_magic(path) else [path]
            found += [name for name in names if not name.endswith(_COMPRESSED)]
        return found

    def _open(self, path: str) -> bool:
        if len(self._tails) >= MAX_FILES:
            if not self._over:
                log.warning("more than %d access logs: %s is not read", MAX_FILES, path)
                self._losses.add(Place.ACCESS_LOG, "too_many_files")
            self._over = 1
            return False
        tail = Tail(path, self._losses)
        if not self._looked:
            known = self._positions.known
            same = [each for each in known.values() if (each.device, each.inode) == tail.key]
            if same:
                tail.resume(same[0])
            elif path not in known:
                tail.to_end()
        parser = LineParser(self._losses, self._formats)
        self._tails[tail.key] = tail, parser
        return True

    def _leave(self, key: tuple[int, int], now: float) -> None:
        tail, parser = self._tails[key]
        tail.gone_since = tail.gone_since or now
        if now - tail.gone_since > LINGER_SECONDS and not self._next(tail, parser):
            tail.close()
            self._left_out += parser.intermediate
            del self._tails[key]

    def _save(self) -> None:
        positions: dict[str, Position] = {}
        for tail, _ in self._tails.values():
            if not tail.gone_since:
                positions[tail.path] = tail.position
        self._positions.save(positions)
