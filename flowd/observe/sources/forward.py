"""Forward a local port to a cluster's Hubble relay with `kubectl port-forward`."""

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
"""Service to forward to; its first port is used, as hubble does."""

_READY = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


@dataclass(frozen=True, slots=True)
class KubectlOptions:
    """Options of kubectl: cluster and namespace of the relay; "" uses kubectl's default."""

    namespace: str = "kube-system"
    context: str = ""
    kubeconfig: str = ""

    def command(self, *words: str) -> list[str]:
        """Command line of a kubectl call.

        Raises:
            UsageError: kubectl is not in PATH.
        """
        program = shutil.which("kubectl")
        if not program:
            raise UsageError(
                "--port-forward needs kubectl, which is not in PATH",
                "install it, or forward a port by other means and name it with --server",
            )
        options = [f"--namespace={self.namespace}"]
        options += [f"--context={self.context}"] if self.context else []
        options += [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        return [program, *words, *options]


@contextmanager
def forwarded(kubectl: KubectlOptions, port: int, timeout: float) -> Generator[str]:
    """Forward a port inside the `with` block; yields the local address.

    Args:
        port: local port; 0 for any free one.
        timeout: seconds that each of kubectl's two steps may take.

    Raises:
        UsageError: kubectl is not in PATH.
        ConnectError: kubectl cannot forward; the message has kubectl's reason.
        TimedOut: kubectl does not report a forwarded port in time.
    """
    remote = _first_port(kubectl, timeout)
    command = kubectl.command(
        "port-forward", f"service/{SERVICE}", f"{port}:{remote}", "--address=127.0.0.1"
    )
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield f"127.0.0.1:{_wait_listening(process, timeout)}"
        finally:
            process.terminate()


def _first_port(kubectl: KubectlOptions, timeout: float) -> int:
    command = kubectl.command(
        "get", f"service/{SERVICE}", "--output=jsonpath={.spec.ports[0].port}"
    )
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TimedOut(
            f"kubectl did not answer within {timeout:g} s", "is the cluster reachable?"
        ) from None
    if result.returncode or not result.stdout.strip().isdecimal():
        raise _failed(result.stderr or "it has no port")
    return int(result.stdout)


def _wait_listening(process: "subprocess.Popen[str]", timeout: float) -> int:
    """Wait until kubectl listens; returns the local port."""
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
    """Queue every line, then ""; reads to the end so that a full pipe never blocks kubectl."""
    for line in stream or ():
        lines.put(line)
    lines.put("")


def _failed(words: str) -> FlowdError:
    return ConnectError(
        f"cannot forward a port to the Service {SERVICE}: {printable(words.strip(), 300)}",
        "see --kube-namespace, --kube-context, --kubeconfig and --port-forward-port",
    )
