"""Run a real agent in a separate process, for tests."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
FLOWD = [sys.executable, "-m", "flowd"]
# Modules are imported as root before privileges are dropped: nobody may not read the checkout
FLOWD_AS_NOBODY = [
    sys.executable,
    "-c",
    (
        "import os, sys; import flowd.cli, flowd.commands.run, flowd.agent, flowd.runtime.process, numpy.ma;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "sys.argv[0] = 'flowd'; flowd.cli.main()"
    ),
]


class Agent:
    """`flowd run` on free ports, with its log in a file.

    Args:
        log: file for the agent's output.
        options: further flags; listen addresses default to free loopback ports.
        netns: network namespace to run in; "" for this one.
        nobody: run as an ordinary user.
    """

    def __init__(
        self,
        log: Path,
        *options: str,
        als: str = "127.0.0.1:0",
        netns: str = "",
        nobody: bool = False,
    ) -> None:
        self.log = log
        self._command = ["ip", "netns", "exec", netns] if netns else []
        self._command += FLOWD_AS_NOBODY if nobody else FLOWD
        self._command += ["run", "--als-listen", als]
        self._command += ["--hubble-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
        self._command += options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the agent and wait until it logs that it runs.

        Raises:
            AssertionError: the agent ended or does not start; the message has its log.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._field("hubble"):
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def text(self) -> str:
        """The agent's output so far."""
        return self.log.read_text(errors="replace")

    @property
    def hubble(self) -> str:
        """host:port of the agent's Hubble API."""
        return self._field("hubble")

    @property
    def metrics(self) -> str:
        """host:port of the agent's metrics endpoint."""
        return self._field("metrics")

    @property
    def als(self) -> str:
        """host:port of the agent's access-log service."""
        return self._field("als")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def _field(self, name: str) -> str:
        lines = [line for line in self.text().splitlines() if "msg=running" in line]
        found = re.search(rf"\b{name}=(\S+)", lines[-1]) if lines else None
        return found[1] if found else ""


@contextlib.contextmanager
def running(
    log: Path,
    *options: str,
    als: str = "127.0.0.1:0",
    netns: str = "",
    nobody: bool = False,
) -> Generator[Agent]:
    """An agent that runs inside the `with` block."""
    agent = Agent(log, *options, als=als, netns=netns, nobody=nobody)
    try:
        agent.start()
        yield agent
    finally:
        if agent.process and agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def flowd(
    *words: str, env: dict[str, str] | None = None, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of flowd until it ends."""
    return subprocess.run(
        [*FLOWD, *words],
        cwd=ROOT,
        env=os.environ | (env or {}),
        input=input,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def as_nobody(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of flowd as an ordinary user until it ends."""
    return subprocess.run(
        [*FLOWD_AS_NOBODY, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def free_port() -> int:
    """A free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def can_capture() -> str:
    """Reason why this machine cannot capture in the kernel, or ""."""
    from flowd.capture.preflight import unsupported_reason

    return unsupported_reason() or ""
