"""Find the process, container and pod that own a socket, by pid, command and cgroup id."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowd.capture.kernel.cgroups import CgroupPaths
from flowd.model.directory import Directory
from flowd.model.losses import Losses, Place
from flowd.model.process import Process
from flowd.text import printable

LIMIT = 8192
"""Processes in the directory; later ones are registered by their command alone."""

COMMAND_CHARACTERS = 64
V1_SECONDS = 10.0
INITIAL_PIDS = "pid:[4026531836]"  # include/linux/proc_ns.h: PROC_PID_INIT_INO

_HEX = "[0-9a-f]"
_POD = re.compile(
    rf"pod({_HEX}{{8}}(?:[-_]{_HEX}{{4}}){{3}}[-_]{_HEX}{{12}}|{_HEX}{{32}})(?=\.slice|[/:]|$)"
)
_CONTAINER = re.compile(rf"(?:^|[/:])(?!\w+-conmon-)(?:[\w-]+-)?({_HEX}{{64}})(?=\.scope|[/:]|$)")


def parse_cgroup(path: str) -> tuple[str, str]:
    """Container id and pod UID of a cgroup path, each "" when there is none.

    Reads paths of the kubelet's cgroupfs and systemd drivers, also below a prefix as in kind, and
    containers of containerd, CRI-O, Docker and Podman. In a pod with nested containers the
    outermost one counts, which Kubernetes knows.
    """
    pods = list(_POD.finditer(path))
    if pods:
        inside = _CONTAINER.search(path, pods[-1].end())
        return inside[1] if inside else "", pods[-1][1].replace("_", "-")
    containers = _CONTAINER.findall(path)
    return containers[-1] if containers else "", ""


class Processes:
    """Registers the owners of sockets in Directory.processes.

    Args:
        directory: `processes` receives the owners.
        losses: `processes_full` under Place.CAPTURE: processes above `limit`, which are registered
            by their command alone, or not at all above twice the limit.
        mount: mount point of cgroup2; None where there is none.
        proc: mount point of procfs.
        limit: processes in the directory, and entries of each cache.

    Attributes:
        in_initial_pid_namespace: whether this process is in the pid namespace whose pids the
            kernel programs report.
    """

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        mount: Path | None,
        *,
        proc: Path = Path("/proc"),
        limit: int = LIMIT,
    ) -> None:
        self._registry = directory.processes
        self._losses = losses
        self._limit = limit
        self._proc = proc
        self.in_initial_pid_namespace = _in_initial_pid_namespace(proc)
        self._paths = CgroupPaths(mount)
        self._parsed: dict[int, tuple[str, str]] = {}
        self._by_pid: dict[int, tuple[str, str]] = {}
        self._pids_expire = 0.0
        # With controllers on cgroup v1, only the paths of v1 may name the container.
        self._has_v1 = any(not line.startswith("0::") for line in self._cgroup_lines("self"))

    def indexes(self, records: NDArray[Any]) -> NDArray[np.uint32]:
        """Directory.processes index of each record's owner, shape (N,); 0 for an unknown owner.

        Args:
            records: shape (N,), with the fields `pid`, `command` and `cgroup`.
        """
        owners = np.empty((len(records), 4), np.uint64)
        owners[:, 0], owners[:, 1] = records["pid"], records["cgroup"]
        owners[:, 2:] = np.ascontiguousarray(records["command"]).view(np.uint64)
        # Records of one pid have one owner, unless the pid was reused among them
        _, first, inverse = np.unique(owners[:, 0], return_index=True, return_inverse=True)
        if (owners != owners[first][inverse]).any():
            _, first, inverse = np.unique(owners, axis=0, return_index=True, return_inverse=True)
        found = [
            self.index(pid, cgroup, command.tobytes())
            for (pid, cgroup), command in zip(
                owners[first, :2].tolist(), owners[first, 2:], strict=True
            )
        ]
        return np.array(found, "u4")[inverse.reshape(-1)]

    def index(self, pid: int, cgroup: int, command: bytes) -> int:
        """Directory.processes index of one process; `command` ends at its first zero byte."""
        text = command.partition(b"\0")[0].decode(errors="replace")
        name = printable(text, COMMAND_CHARACTERS)
        if not name and not cgroup:
            return 0
        container, pod = self._container(pid, cgroup)
        return self._register(Process(name, container, pod, cgroup))

    def _register(self, process: Process) -> int:
        if process in self._registry:
            return self._registry.index(process)
        if len(self._registry) >= self._limit:
            self._losses.add(Place.CAPTURE, "processes_full")
            process = Process(process.command)
            if len(self._registry) >= 2 * self._limit and process not in self._registry:
                return 0
        return self._registry.index(process)

    def _container(self, pid: int, cgroup: int) -> tuple[str, str]:
        known = self._parsed.get(cgroup)
        if known is None:
            lines = self._cgroup_lines(str(pid)) if self.in_initial_pid_namespace else []
            hint = next((line[3:] for line in lines if line.startswith("0::")), "")
            path = self._paths.find(cgroup, hint)
            if path is None:
                return "", ""
            known = parse_cgroup(path)
            if len(self._parsed) >= self._limit:
                self._parsed.clear()
            self._parsed[cgroup] = known
        return known if any(known) or not self._has_v1 else self._from_v1(pid)

    def _from_v1(self, pid: int) -> tuple[str, str]:
        """Container and pod by the pid's v1 cgroups, cached briefly because pids are reused."""
        if not self.in_initial_pid_namespace:
            return "", ""
        now = time.monotonic()
        if now >= self._pids_expire or len(self._by_pid) >= self._limit:
            self._by_pid.clear()
            self._pids_expire = now + V1_SECONDS
        known = self._by_pid.get(pid)
        if known is None:
            parsed = [parse_cgroup(line) for line in self._cgroup_lines(str(pid))]
            known = max(parsed, key=lambda ids: (bool(ids[1]), bool(ids[0])), default=("", ""))
            self._by_pid[pid] = known
        return known

    def _cgroup_lines(self, pid: str) -> list[str]:
        try:
            return (self._proc / pid / "cgroup").read_text(errors="replace").splitlines()
        except OSError:
            return []


def _in_initial_pid_namespace(proc: Path) -> bool:
    try:
        return str((proc / "self/ns/pid").readlink()) == INITIAL_PIDS
    except OSError:
        return False
