"""The cgroups of the cluster: a folder for every node, by which everything in it can be ended at once."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NAME = "flowd-cluster"
MEMORY_OF = ("cpuset.cpus", "cpuset.mems")  # an empty one takes no process


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup hierarchy: `kind` is cgroup or cgroup2, `options` what mounts the same again."""

    mount: Path
    kind: str
    options: str


def hierarchies() -> list[Hierarchy]:
    """All hierarchies of this machine, as /proc/self/mountinfo (proc(5)) shows them."""
    found: list[Hierarchy] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if kind in ("cgroup", "cgroup2") and place.split()[3] == "/":
            kept = [word for word in options.split(",") if word not in ("rw", "ro")]
            found.append(Hierarchy(Path(place.split()[4]), kind, ",".join(kept)))
    return found


def folders(node: str = "") -> list[Path]:
    """The folder of the cluster, or of a node, in every hierarchy."""
    return [each.mount / NAME / node for each in hierarchies()]


def make(node: str) -> None:
    """Make the cgroups of a node, and one for its own programs beside the pods'."""
    for hierarchy in hierarchies():
        top = hierarchy.mount / NAME
        for folder in (top, top / node, top / node / "system"):
            folder.mkdir(exist_ok=True)
            if hierarchy.kind == "cgroup":
                for name in MEMORY_OF:
                    if (folder / name).exists():
                        (folder / name).write_text((folder.parent / name).read_text())
        if hierarchy.kind == "cgroup2":
            delegate(hierarchy.mount, top)


def delegate(*folders: Path) -> None:
    """Give every controller of cgroup2's folders to those below them; no process may be in them.

    Beside hierarchies of the old kind cgroup2 has no controller that a pod needs.
    """
    if any(each.kind == "cgroup" for each in hierarchies()):
        return
    for folder in folders:
        if not (folder / "cgroup.controllers").exists():
            continue
        for controller in (folder / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):  # processes in the folder itself forbid it
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def entrances(node: str, below: str = "system") -> list[Path]:
    """Files into which a process writes its number to belong to a node."""
    return [folder / below / "cgroup.procs" for folder in folders(node)]


def members(node: str = "") -> set[int]:
    """Processes in the cgroups of the cluster or of a node."""
    found: set[int] = set()
    for folder in folders(node):
        for path in _walk(folder):
            with contextlib.suppress(OSError):
                found.update(int(word) for word in (path / "cgroup.procs").read_text().split())
    return found - {0}


def end_all(seconds: float = 20.0) -> list[str]:
    """Kill what is in the cluster's cgroups and remove them; returns what could not be removed."""
    for folder in folders():
        with contextlib.suppress(OSError):  # only cgroup2 has it
            (folder / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + seconds
    while (left := members()) and time.monotonic() < deadline:
        for pid in left - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    while time.monotonic() < deadline:
        for folder in folders():
            for path in _walk(folder):
                with contextlib.suppress(OSError):
                    path.rmdir()
        if not any(folder.exists() for folder in folders()):
            break
        time.sleep(0.1)
    return [str(folder) for folder in folders() if folder.exists()]


def _walk(folder: Path) -> Iterator[Path]:
    """A folder and all below it, the deepest first."""
    for path, _, _ in os.walk(folder, topdown=False):
        yield Path(path)
