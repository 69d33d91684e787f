"""The demo's directory: what was started, where things are, and who must be stopped."""

import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo.processes import Process
from demo.topology import Topology

FILES = (
    "state.json",
    "sequence",
    "envoy.json",
    "envoy.log",
    "access.log",
    "backend.log",
    "client.log",
    "sent.jsonl",
    "seen.jsonl",
    "gateway.crt",
    "gateway.key",
    "tls-echo.crt",
    "tls-echo.key",
)


@dataclass(slots=True)
class State:
    """Contents of `state.json`.

    Attributes:
        instance, loopback: arguments of Topology.
        als: host:port to which Envoy sends its access log.
        record: whether client and backends write `sent.jsonl` and `seen.jsonl`.
        rate: requests a second of the steady client; 0 for none.
        gateway: host:port of the Gateway's HTTP listener.
        ready: set when everything runs.
        processes: what `down` kills.
    """

    instance: int
    loopback: bool
    als: str
    record: bool
    rate: float
    gateway: str
    ready: bool = False
    processes: list[Process] = field(default_factory=list[Process])

    @property
    def topology(self) -> Topology:
        return Topology(self.instance, self.loopback)

    def running(self) -> list[Process]:
        return [process for process in self.processes if process.alive()]

    def healthy(self) -> bool:
        """Everything that was started still runs."""
        return self.ready and len(self.running()) == len(self.processes)

    def save(self, directory: Path) -> None:
        temporary = directory / "state.json.new"
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(directory / "state.json")


def load(directory: Path) -> State | None:
    """The state saved in directory; None where there is none or it cannot be read."""
    try:
        data = json.loads((directory / "state.json").read_text())
        data["processes"] = [Process(**process) for process in data["processes"]]
        return State(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def default_directory() -> Path:
    """$FLOWD_DEMO_DIR, else /run/flowd-demo for root and a directory of the user's for others."""
    if named := os.environ.get("FLOWD_DEMO_DIR"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/run/flowd-demo")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime, "flowd-demo")
    return Path(tempfile.gettempdir(), f"flowd-demo-{os.getuid()}")


def remove(directory: Path) -> None:
    """Delete the demo's own files, and the directory if nothing else is in it."""
    for name in FILES:
        (directory / name).unlink(missing_ok=True)
    manifests = directory / "manifests"
    for path in manifests.glob("*.yaml"):
        path.unlink()
    for folder in (manifests, directory):
        try:
            folder.rmdir()
        except OSError:
            continue


def reserve(directory: Path, count: int) -> int:
    """The first of `count` request numbers that no other client of this demo uses."""
    with (directory / "sequence").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        first = int(stream.read() or "1")
        stream.truncate(0)
        stream.write(str(first + count))
    return first
