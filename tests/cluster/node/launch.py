"""Start a program of the cluster inside a node, with its output in a log, and wait until it answers."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import tail, wait_for
from tests.cluster.errors import ClusterError
from tests.cluster.node.namespaces import Node


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program that keeps running: its name, which is its log's, and its process."""

    name: str
    process: subprocess.Popen[bytes]

    def await_ready(self, seconds: float, ready: Sequence[str], node: Node) -> None:
        """Wait until a command succeeds inside the node.

        Raises:
            ClusterError: the program ended, or the command did not succeed in time.
        """

        def answers() -> bool:
            if self.process.poll() is not None:
                raise ClusterError(
                    f"{self.name} ended with {self.process.returncode}", tail(places.log(self.name))
                )
            quiet = subprocess.DEVNULL
            return (
                subprocess.run(
                    node.enter(*ready), stdout=quiet, stderr=quiet, check=False
                ).returncode
                == 0
            )

        try:
            wait_for(self.name, answers, seconds)
        except ClusterError as error:
            raise ClusterError(str(error), error.detail or tail(places.log(self.name))) from None


def start(node: Node, name: str, *command: str | Path, env: dict[str, str] | None = None) -> Daemon:
    """Start a program inside a node; it outlives this one."""
    log = places.log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            node.enter(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    return Daemon(name, process)
