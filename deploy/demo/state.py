"""State file of the demo: its options, addresses and processes, and the demo's directory."""

import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo.cluster.topology import Topology
from demo.processes import DemoProcess

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
class DemoState:
    """Contents of `state.json`.

    Attributes:
        instance, loopback: arguments of Topology.
        als: host:port of the access-log service to which Envoy streams.
        record: whether clients and backends write `sent.jsonl` and `seen.jsonl`.
        rate: requests a second of the steady client; 0 for none.
        gateway: host:port of the Gateway's HTTP listener.
        ready: whether the start was completed.
        processes: processes that `down` stops.
    """

    instance: int
    loopback: bool
    als: str
    record: bool
    rate: float
    gateway: str
    ready: bool = False
    processes: list[DemoProcess] = field(default_factory=list[DemoProcess])

    @property
    def topology(self) -> Topology:
        return Topology(self.instance, self.loopback)

    def running(self) -> list[DemoProcess]:
        return [process for process in self.processes if process.alive()]

    def healthy(self) -> bool:
        """Whether the start was completed and every process still runs."""
        return self.ready and len(self.running()) == len(self.processes)

    def save(self, directory: Path) -> None:
        temporary = directory / "state.json.new"
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(directory / "state.json")


def load(directory: Path) -> DemoState | None:
    """The state saved in a directory; None if it is missing or malformed."""
    try:
        data = json.loads((directory / "state.json").read_text())
        data["processes"] = [DemoProcess(**process) for process in data["processes"]]
        return DemoState(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def default_directory() -> Path:
    """$FLOWD_DEMO_DIR, else /run/flowd-demo for root, and a directory of the user for others."""
    if named := os.environ.get("FLOWD_DEMO_DIR"):
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/run/flowd-demo")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime, "flowd-demo")
    return Path(tempfile.gettempdir(), f"flowd-demo-{os.getuid()}")


def remove(directory: Path) -> None:
    """Delete the demo's files, and the directory if it is then empty."""
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
    """Reserve `count` request numbers for a client, across processes; returns the first."""
    with (directory / "sequence").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        first = int(stream.read() or "1")
        stream.truncate(0)
        stream.write(str(first + count))
    return first
