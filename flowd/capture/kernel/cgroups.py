"""Paths of cgroups by the number that the kernel gives them: the inode in cgroup2."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

LOOK_SECONDS = 2.0
FOLDERS = 20000


class CgroupPaths:
    """The paths below one mount of cgroup2, learnt when they are asked for.

    Args:
        mount: of cgroup2, or None where there is none: then nothing is ever found.
        folders: looked at, and remembered, at most.
    """

    def __init__(self, mount: Path | None, *, folders: int = FOLDERS) -> None:
        self._mount = mount
        self._folders = folders
        self._paths: dict[int, str] = {}
        self._look_at = 0.0

    def find(self, number: int, hint: str = "") -> str | None:
        """Path of a cgroup from the mount on, "/" for its root; None when it is not there (now).

        Args:
            hint: where to look first; no answer unless it has this number. Without it the whole
                tree is looked through, at most every two seconds.
        """
        if self._mount is None or not number:
            return None
        known = self._paths.get(number)
        if known is not None:
            return known
        if hint and self._is(hint, number):
            return self._keep(number, hint)
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._paths = dict(self._walk(self._mount))
        return self._paths.get(number)

    def _is(self, path: str, number: int) -> bool:
        try:
            return os.stat(f"{self._mount}/{path}").st_ino == number
        except (OSError, ValueError):
            return False

    def _keep(self, number: int, path: str) -> str:
        if len(self._paths) >= self._folders:
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
                        if seen > self._folders:
                            return
                        yield entry.inode(), entry.path[len(top) :]
                        waiting.append(entry.path)
            except OSError:
                continue  # gone meanwhile
