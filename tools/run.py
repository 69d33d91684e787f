"""Run `make run`: start the demo gateway, the agent and the viewer, and take them down again.

The viewer is `flowd top` on a terminal and `flowd observe --follow` in a pipe. When it ends, the
agent and the demo end too, unless `--keep` is given; `--down` cleans up after a crash.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".demo"
PYTHON = sys.executable
METRICS = "127.0.0.1:9965"
HUBBLE = "127.0.0.1:4245"
READY_SECONDS = 30.0
STOP_SECONDS = 15.0


def say(text: str) -> None:
    """Print a line of progress to stderr."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the demo; its progress goes to our stderr."""
    return subprocess.run(
        [PYTHON, str(ROOT / "deploy" / "demo"), *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


def started(pid: int) -> str:
    """Start time of a process in clock ticks, "" if it has ended (proc(5), stat field 22)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def start_agent(options: list[str]) -> subprocess.Popen[bytes]:
    """Start `flowd run` in a session of its own, its log in .demo/agent.log."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [PYTHON, "-m", "flowd", "run", *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (STATE / "agent.json").write_text(json.dumps({"pid": agent.pid, "start": started(agent.pid)}))
    return agent


def wait_ready(agent: subprocess.Popen[bytes]) -> None:
    """Wait until the agent answers on /readyz; exit with its exit code if it ends before."""
    deadline = time.monotonic() + READY_SECONDS
    while agent.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{METRICS}/readyz", timeout=1).close()
            return
        time.sleep(0.1)
    sys.stderr.write((STATE / "agent.log").read_text(errors="replace")[-4000:])
    code = agent.poll()
    say(f"the agent ended with exit code {code}" if code is not None else "the agent is not ready")
    sys.exit(code or 1)


def stop_agent() -> None:
    """End the agent that the state file names, if it is still that process."""
    record = STATE / "agent.json"
    if not record.is_file():
        return
    named = json.loads(record.read_text())
    pid, start = int(named["pid"]), str(named["start"])
    if start and started(pid) == start:
        os.kill(pid, signal.SIGTERM)
        if not gone(pid, start, STOP_SECONDS):
            os.kill(pid, signal.SIGKILL)
            gone(pid, start, STOP_SECONDS)
    record.unlink()


def gone(pid: int, start: str, seconds: float) -> bool:
    """Wait until a process has ended, child or not."""
    deadline = time.monotonic() + seconds
    while started(pid) == start:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def down() -> None:
    """Take the agent and the demo down; harmless when nothing runs."""
    stop_agent()
    demo("down")


def view(screenshot: str | None) -> int:
    """Run the viewer in the foreground; return its exit code."""
    if screenshot:
        words = [str(ROOT / "tools" / "screenshot.py"), "--server", HUBBLE, "--output", screenshot]
        return subprocess.run([PYTHON, *words], check=False).returncode
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    words = ["top"] if terminal else ["observe", "--follow"]
    return subprocess.run(
        [PYTHON, "-m", "flowd", *words, "--server", HUBBLE], cwd=ROOT, check=False
    ).returncode


def main() -> int:
    """Parse the flags and run; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--demo", choices=["0", "1"], default="1", help="0: watch this machine alone"
    )
    parser.add_argument("--down", action="store_true", help="take everything down and exit")
    parser.add_argument("--keep", action="store_true", help="leave agent and demo running")
    parser.add_argument(
        "--screenshot", metavar="FILE", help="make a picture of the screen and exit"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if given.down:
        down()
        return 0
    stop_agent()
    try:
        options = ["--metrics-listen", METRICS, "--hubble-listen", HUBBLE]
        if given.demo == "1":
            say("starting the demo gateway (take it down with `make demo-down`)")
            made = demo("up", "-o", "json")
            if made.returncode:
                return made.returncode
            facts = json.loads(made.stdout)
            options += ["--manifests", facts["manifests"], "--als-listen", facts["als"]]
            options += ["--node-name", facts["node"]]
        say("starting the agent (log: .demo/agent.log)")
        wait_ready(start_agent(options))
        for line in (STATE / "agent.log").read_text(errors="replace").splitlines():
            if "level=warning" in line:
                print(line, file=sys.stderr)
        return view(given.screenshot)
    except KeyboardInterrupt:
        return 0
    finally:
        if given.keep:
            say("agent and demo go on; `make demo-down` ends them")
        else:
            down()


if __name__ == "__main__":
    sys.exit(main())
