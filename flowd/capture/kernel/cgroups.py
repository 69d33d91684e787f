"""Find the path of a cgroup by its id, the inode number in cgroup2."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

WALK_SECONDS = 2.0
MAX_DIRECTORIES = 20000


class CgroupPaths:
    """A cache of cgroup paths below one mount of cgroup2, filled on demand.

    Args:
        mount: mount point of cgroup2; None where there is none, and every lookup fails.
        max_directories: most directories that a walk visits and the cache keeps.
    """

    def __init__(self, mount: Path | None, *, max_directories: int = MAX_DIRECTORIES) -> None:
        self._mount = mount
        self._max_directories = max_directories
        self._paths: dict[int, str] = {}
        self._next_walk = 0.0

    def find(self, number: int, hint: str = "") -> str | None:
        """Path of a cgroup relative to the mount, "/" for the root; None when it is not found.

        Args:
            number: cgroup id.
            hint: path to try first; it counts only if it has this id. If it does not, the whole
                tree is walked, at most once every WALK_SECONDS.
        """
        if self._mount is None or not number:
            return None
        known = self._paths.get(number)
        if known is not None:
            return known
        if hint and self._has_id(hint, number):
            return self._keep(number, hint)
        now = time.monotonic()
        if now >= self._next_walk:
            self._next_walk = now + WALK_SECONDS
            self._paths = dict(self._walk(self._mount))
        return self._paths.get(number)

    def _has_id(self, path: str, number: int) -> bool:
        try:
            return os.stat(f"{self._mount}/{path}").st_ino == number
        except (OSError, ValueError):
            return False

    def _keep(self, number: int, path: str) -> str:
        if len(self._paths) >= self._max_directories:
            self._paths.clear()
        self._paths[number] = path
        return path

    def _walk(self, mount: Path) -> Iterator[tuple[int, str]]:
        top = str(mount)
        try:
            yield os.stat(top).st_ino, "/"
        except OSError:
            return
        waiting, seen = [top], 1
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        if not entry.is_dir(follow_symlinks=False):
                            continue
                        seen += 1
                        if seen > self._max_directories:
                            return
                        yield entry.inode(), entry.path[len(top) :]
                        waiting.append(entry.path)
            except OSError:
                continue  # removed since it was listed
