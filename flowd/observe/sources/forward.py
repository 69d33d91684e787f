"""A port of this machine forwarded to the relay of a cluster, by kubectl, while a command runs."""

import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from flowd.errors import ConnectError, FlowdError, TimedOut, UsageError
from flowd.text import printable

SERVICE = "hubble-relay"
"""The Service that is forwarded to, at its first port, as hubble does."""

_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Which cluster kubectl asks, and the namespace of the relay there; "" leaves it to kubectl."""

    namespace: str = "kube-system"
    context: str = ""
    kubeconfig: str = ""

    def command(self, *words: str) -> list[str]:
        """The words of a kubectl call.

        Raises:
            UsageError: there is no kubectl.
        """
        kubectl = shutil.which("kubectl")
        if not kubectl:
            raise UsageError(
                "--port-forward needs kubectl, which is not in PATH",
                "install it, or forward a port by other means and name it with --server",
            )
        options = [f"--namespace={self.namespace}"]
        options += [f"--context={self.context}"] if self.context else []
        options += [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        return [kubectl, *words, *options]


@contextmanager
def forwarded(cluster: Cluster, port: int, timeout: float) -> Generator[str]:
    """Forward until the block ends; gives the address to ask.

    Args:
        port: of this machine; 0 for any that is free.
        timeout: seconds that each of kubectl's two steps may take.

    Raises:
        UsageError: there is no kubectl.
        ConnectError: kubectl cannot forward; with its own words.
        TimedOut: it does not say that it forwards.
    """
    remote = _first_port(cluster, timeout)
    command = cluster.command(
        "port-forward", f"service/{SERVICE}", f"{port}:{remote}", "--address=127.0.0.1"
    )
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield f"127.0.0.1:{_wait(process, timeout)}"
        finally:
            process.terminate()


def _first_port(cluster: Cluster, timeout: float) -> int:
    command = cluster.command(
        "get", f"service/{SERVICE}", "--output=jsonpath={.spec.ports[0].port}"
    )
    try:
        asked = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"kubectl did not answer within {timeout:g} s", "is the cluster reachable?"
        ) from None
    if asked.returncode or not asked.stdout.strip().isdecimal():
        raise _failed(asked.stderr or "it has no port")
    return int(asked.stdout)


def _wait(process: "subprocess.Popen[str]", timeout: float) -> int:
    """The local port, as soon as kubectl listens on it."""
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    last, until = "", time.monotonic() + timeout
    while True:
        try:
            line = lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise TimedOut(f"kubectl did not forward a port within {timeout:g} s") from None
        if found := _READY.match(line):
            return int(found[1])
        if not line:
            raise _failed(last)
        last = line


def _read(stream: IO[str] | None, lines: "queue.Queue[str]") -> None:
    """Hand over line by line, then ""; goes on reading so that kubectl never waits for us."""
    for line in stream or ():
        lines.put(line)
    lines.put("")


def _failed(words: str) -> FlowdError:
    return ConnectError(
        f"cannot forward a port to the Service {SERVICE}: {printable(words.strip(), 300)}",
        "see --kube-namespace, --kube-context, --kubeconfig and --port-forward-port",
    )
