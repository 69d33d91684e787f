"""Run a whole agent in a node's namespace beside a benchmark, and read its /metrics."""

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.net import Cluster, inside

METRICS, HUBBLE = 9965, 4245
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Agent:
    """A running `flowd run` with every exporter but OTLP."""

    pid: int
    node: str

    def metrics(self) -> Mapping[str, float]:
        """Sums by name, and by `name label=value...` for every series."""
        with inside(self.node):
            connection = http.client.HTTPConnection("127.0.0.1", METRICS, timeout=30)
            try:
                connection.request("GET", "/metrics")
                text = connection.getresponse().read().decode()
            finally:
                connection.close()
        found: defaultdict[str, float] = defaultdict(float)
        for line in text.splitlines():
            if line.startswith("#") or not line:
                continue
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            found[name] += float(value)
            if labels:
                found[f"{name} {labels.rstrip('}')}"] += float(value)
        return found

    def cpu(self) -> float:
        """User and system CPU seconds (proc(5), stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self) -> float:
        """Resident memory, MiB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096 / 2**20

    def until(self, met: Callable[[Mapping[str, float]], bool], seconds: float = 60) -> bool:
        """Wait until the metrics meet a condition; returns whether they did."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if met(self.metrics()):
                return True
            time.sleep(0.5)
        return False


@contextlib.contextmanager
def agent(cluster: Cluster, *words: str) -> Generator[Agent]:
    """Start an agent on the node's interfaces, wait until it is ready, stop it at the end."""
    command = [sys.executable, "-m", "flowd", "run", "--capture", "on", *words]
    command += ["--metrics-listen", f"127.0.0.1:{METRICS}"]
    command += ["--hubble-listen", f"127.0.0.1:{HUBBLE}", "--log-level", "error"]
    with cluster.inside():
        process = subprocess.Popen(command)
    try:
        found = Agent(process.pid, cluster.node)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                found.metrics()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the agent did not start")
            time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait()
