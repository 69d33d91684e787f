"""Start and stop detached processes, identified by pid and start time (proc(5))."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class DemoProcess:
    """A process that the demo started; `started` is field 22 of /proc/<pid>/stat."""

    name: str
    pid: int
    started: int

    def alive(self) -> bool:
        """Whether the process still runs: neither a zombie nor another process with its pid."""
        stat = _stat(self.pid)
        return stat is not None and stat == (self.started, True)

    def resident_bytes(self) -> int:
        """Resident memory in bytes; 0 if the process is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return pages * os.sysconf("SC_PAGESIZE")


def _stat(pid: int) -> tuple[int, bool] | None:
    """Start time, and whether a thread still runs; None if there is no such process.

    The main thread can be a zombie while others still hold the process's sockets.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]), fields[0] not in "ZX" or int(fields[17]) > 1
    except (OSError, IndexError, ValueError):
        return None


def python(verb: str, directory: Path) -> list[str]:
    """Command line that runs a verb of the demo."""
    return [sys.executable, "-B", str(PACKAGE), "--directory", str(directory), verb]


def spawn(name: str, command: list[str], log: Path) -> tuple[DemoProcess, subprocess.Popen[bytes]]:
    """Start a command in a new session, with its output appended to `log`."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    stat = _stat(child.pid)
    return DemoProcess(name, child.pid, stat[0] if stat else 0), child


def stop(processes: Iterable[DemoProcess], patience: float = 3.0) -> None:
    """Send SIGTERM, wait up to `patience` seconds, then SIGKILL; returns when all have ended."""
    left = [process for process in processes if process.alive()]
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, sent)
        deadline = time.monotonic() + patience
        while left and time.monotonic() < deadline:
            time.sleep(0.01)
            left = [process for process in left if process.alive()]
