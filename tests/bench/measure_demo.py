"""Cost of the agent on the demo: memory, CPU, time to the first flow; as a Markdown table.

    .venv/bin/python -m tests.bench.measure_demo --minutes 10

Starts the demo and a separate agent with every exporter on, and stops both.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "deploy")]

from demo.lifecycle import Demo
from flowd.client.client import Client
from flowd.wire.observer import observer_pb2

HUBBLE, METRICS = "127.0.0.1:4345", "127.0.0.1:9966"
TICKS = os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process in MiB (proc(5), status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_seconds(pid: int) -> float:
    """User and system CPU of a process (proc(5), stat fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def agent(demo: Demo, folder: Path) -> Generator[subprocess.Popen[bytes]]:
    """`flowd run` with every exporter on; no server listens at the OTLP endpoint."""
    words = ["--manifests", str(demo.manifests), "--als-listen", demo.state.als]
    words += ["--node-name", demo.topology.node, "--flow-log", str(folder / "flows.log")]
    words += ["--hubble-listen", HUBBLE, "--metrics-listen", METRICS]
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowd", "run", *words], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def first_flow() -> None:
    """Wait until the Hubble API returns a flow."""
    while True:
        with contextlib.suppress(Exception):
            async with Client(HUBBLE) as client:
                request = observer_pb2.GetFlowsRequest(number=1)
                async for response in client.get_flows(request):
                    if response.HasField("flow"):
                        return
        await asyncio.sleep(0.02)


async def seen_flows() -> int:
    """Number of flows since the agent started."""
    async with Client(HUBBLE) as client:
        return (await client.server_status()).seen_flows


def measure(minutes: float, rate: float) -> list[tuple[str, str]]:
    """Run once; returns rows of (name, figure)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Demo(folder / "demo", rate=rate) as demo:
            began = time.monotonic()
            with agent(demo, folder) as process:
                asyncio.run(asyncio.wait_for(first_flow(), 60))
                first = time.monotonic() - began
                time.sleep(5)
                start = resident_mib(process.pid)
                cpu, clock, flows = (
                    cpu_seconds(process.pid),
                    time.monotonic(),
                    asyncio.run(seen_flows()),
                )
                time.sleep(minutes * 60)
                cpu = cpu_seconds(process.pid) - cpu
                clock = time.monotonic() - clock
                flows = asyncio.run(seen_flows()) - flows
                return [
                    ("start to first flow", f"{first:.2f} s"),
                    ("resident memory 5 s after start", f"{start:.0f} MiB"),
                    (
                        f"resident memory after {minutes:g} min",
                        f"{resident_mib(process.pid):.0f} MiB",
                    ),
                    ("peak resident memory", f"{resident_mib(process.pid, 'VmHWM'):.0f} MiB"),
                    ("flows a second", f"{flows / clock:.0f}"),
                    ("CPU, of one core", f"{100 * cpu / clock:.1f} %"),
                ]


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=20, help="requests a second of the demo")
    given = parser.parse_args()
    print("| what | figure |\n| --- | --- |")
    for what, figure in measure(given.minutes, given.rate):
        print(f"| {what} | {figure} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
