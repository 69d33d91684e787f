"""Run commands to their end, with an error that tells what they said."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.errors import ClusterError

TAIL = 25  # lines of a failed command that are shown
GENTLE = ("nice", "-n", "19", "ionice", "-c3")  # long builds leave the machine to others


def run(
    command: Sequence[str | Path],
    *,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> str:
    """Output of a command that must succeed.

    Args:
        env: variables beside those of this process.
        log: a file that receives output and errors instead; the result is then empty.

    Raises:
        ClusterError: it failed or is not there.
    """
    words = [str(word) for word in command]
    variables = {**os.environ, **(env or {})}
    try:
        if log:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                done = subprocess.run(
                    words,
                    input=stdin.encode(),
                    stdout=output,
                    stderr=output,
                    cwd=cwd,
                    env=variables,
                    check=False,
                )
            said = tail(log) if done.returncode else ""
            result = ""
        else:
            text = subprocess.run(
                words,
                input=stdin,
                capture_output=True,
                text=True,
                cwd=cwd,
                env=variables,
                check=False,
            )
            done, said, result = text, text.stderr or text.stdout, text.stdout
    except OSError as error:
        raise ClusterError(f"cannot run {words[0]}: {error.strerror}") from error
    if done.returncode:
        raise ClusterError(f"{' '.join(words)[:200]}: exit {done.returncode}", last_lines(said))
    return result


def last_lines(text: str, count: int = TAIL) -> str:
    """The end of a text."""
    return "\n".join(text.splitlines()[-count:])


def tail(path: Path, count: int = TAIL) -> str:
    """The end of a file; empty where there is none."""
    try:
        return last_lines(path.read_text(errors="replace"), count)
    except OSError:
        return ""


def wait_for(what: str, ready: Callable[[], bool], seconds: float, every: float = 0.2) -> None:
    """Ask again and again until it is so.

    Raises:
        ClusterError: it is not so after that many seconds.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not after {seconds:.0f} s")
        time.sleep(every)
