"""Run the real hubble CLI against an agent with the demo's traffic, and record its output.

    python -m tests.hubble.transcript HUBBLE

Writes the part of docs/hubble-compatibility.md between its two marks. Needs root and openssl, as the
demo does, and uses the demo's names: one at a time on a machine.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.hubble import cases as hubble_cases

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "hubble-compatibility.md"
MARKS = ("<!-- transcript: tests/hubble/transcript.py -->\n", "<!-- end of the transcript -->\n")
PORT = 4245
SERVER = f"127.0.0.1:{PORT}"
NAME = "vm.default.hubble-grpc.cilium.io"
WIDTH, LINES = 150, 6
SECONDS = 60.0
TRAFFIC_SECONDS = 15.0


class Shell:
    """Runs hubble in a folder, and records command lines and output."""

    def __init__(self, hubble: str, folder: Path) -> None:
        self._hubble = hubble
        self._folder = folder
        self.recorded: list[str] = []

    def run(self, words: str, seconds: float = SECONDS) -> tuple[str, int]:
        """Output and exit code of a command line; it is interrupted when it takes longer."""
        command = ["timeout", "-s", "INT", str(seconds), self._hubble, *shlex.split(words)]
        ran = subprocess.run(
            command, cwd=self._folder, env={"HUBBLE_SERVER": SERVER, "HOME": str(self._folder)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return ran.stdout.decode(errors="replace"), ran.returncode

    def show(self, words: str, seconds: float = SECONDS) -> None:
        """Run a command line and record the beginning of its output."""
        text, code = self.run(words, seconds)
        lines = [one if len(one) <= WIDTH else one[: WIDTH - 1] + "…" for one in text.splitlines()]
        shown = lines[:LINES] + ([f"… {len(lines) - LINES} more"] if len(lines) > LINES else [])
        self.recorded += [f"$ hubble {words}", *shown]
        if code not in (0, 124):
            self.recorded.append(f"=> exit code {code}")

    def flows(self, words: str) -> list[dict[str, Any]]:
        """The flows in the output of a command line."""
        text, code = self.run(f"observe -o json {words}")
        if code:
            raise SystemExit(f"hubble observe {words}: {text[:500]}")
        answers = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [one["flow"] for one in answers if "flow" in one]


@contextmanager
def agent(folder: Path, facts: dict[str, str], *options: str) -> Generator[None]:
    """Run an agent that serves on SERVER until the block ends."""
    arguments = ["--hubble-listen", SERVER, "--metrics-listen", "127.0.0.1:0", "--node-name", "vm"]
    arguments += ["--manifests", facts["manifests"], "--als-listen", facts["als"], *options]
    log = folder / "agent.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowd", "run", *arguments], cwd=folder, stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + SECONDS
        while b"hubble=" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(log.read_text(errors="replace")[-3000:])
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def certificates(folder: Path) -> None:
    """Make ca.crt, and server and client certificates signed by it."""
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
    (folder / "names").write_text(f"subjectAltName=DNS:*.{NAME.partition('.')[2]}\n")
    commands = [f"req -x509 {curve} -subj /CN=authority -keyout ca.key -out ca.crt"]
    signer = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile names"
    for role in ("server", "client"):
        commands += [
            f"req {curve} -subj /CN={role} -keyout {role}.key -out {role}.csr",
            f"x509 -req -in {role}.csr -out {role}.crt -days 30 {signer}",
        ]
    for words in commands:
        subprocess.run(["openssl", *words.split()], cwd=folder, capture_output=True, check=True)


def window() -> str:
    """Flags --since and --until for some past seconds."""
    begin, end = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago)) for ago in (8, 3)
    )
    return f"--since {begin} --until {end}"


def counts(shell: Shell, cases: list[str], span: str, way: str) -> list[str]:
    """For each filter the number of flows that pass it, and that pass it with `--not`."""
    whole = len(shell.flows(f"{span} {way}"))
    cells = [str(whole)]
    for words in cases:
        found, others = (len(shell.flows(f"{no}{words} {span} {way}")) for no in ("", "--not "))
        if found + others != whole:
            raise SystemExit(f"{words} {way}: {found} + {others} of {whole} flows")
        cells.append(f"{found} + {others}")
    return cells


def same_ends(shell: Shell, way: str, plain: str = "") -> None:
    """Check that every plain command line has the same exit code as without TLS."""
    for words in hubble_cases.PLAIN:
        seconds = 3 if words in hubble_cases.ENDLESS else SECONDS
        codes = [shell.run(f"{words} {one}", seconds)[1] for one in (way, plain)]
        if codes[0] != codes[1]:
            raise SystemExit(f"{words} {way}: exit codes {codes}")


def transcript(shell: Shell, folder: Path, facts: dict[str, str]) -> str:
    """Run all command lines; returns them with their output as Markdown."""
    unix = f"--server unix://{folder}/hubble.sock"
    with agent(folder, facts, "--hubble-socket", str(folder / "hubble.sock")):
        time.sleep(TRAFFIC_SECONDS)
        span = window()
        cases = list(hubble_cases.filters(shell.flows(span)))
        columns = [["(none)", *cases]]
        columns += [counts(shell, cases, span, way) for way in ("", unix)]
        if columns[1] != columns[2]:
            raise SystemExit("the unix socket gives other flows than TCP")
        for words in hubble_cases.PLAIN:
            shell.show(words, 3 if words in hubble_cases.ENDLESS else SECONDS)
        same_ends(shell, unix)
        for words in hubble_cases.OTHERS:
            shell.show(f"{words} {unix}", 3)
    tls = ("--hubble-tls-cert-file", "server.crt", "--hubble-tls-key-file", "server.key")
    trust = f"--server tls://{SERVER} --tls-ca-cert-files ca.crt --tls-server-name {NAME}"
    ours = "--tls-client-cert-file client.crt --tls-client-key-file client.key"
    plain = ("--hubble-socket", str(folder / "hubble.sock"))
    for more, options in (([], ""), (["--hubble-tls-client-ca-files", "ca.crt"], f" {ours}")):
        way = trust + options
        with agent(folder, facts, *tls, *more, *plain):
            time.sleep(TRAFFIC_SECONDS)
            columns.append(counts(shell, cases, window(), way))
            same_ends(shell, way, unix)
            for words in hubble_cases.OTHERS:
                shell.show(f"{words} {way}", 3)
            if more:
                shell.show(f"status {trust}")
            else:
                shell.show(f"status --server tls://{SERVER} --tls-allow-insecure")
    recorded = "\n".join(shell.recorded).replace(f"unix://{folder}", "unix:///run/flowd")
    recorded = recorded.replace(f"{folder}/", "").replace(str(ROOT), "")
    recorded = re.sub(r"127\.0\.0\.1:\d{5}->", "127.0.0.1:50670->", recorded)
    table = ["| filter | TCP | unix socket | TLS | mutual TLS |", "| --- | --- | --- | --- | --- |"]
    for words, *cells in zip(*columns, strict=True):
        name = words if words == "(none)" else f"`{words.replace('|', chr(92) + '|')}`"
        table.append(f"| {name} | {' | '.join(cells)} |")
    return f"```\n{recorded}\n```\n\n" + "\n".join(table) + "\n"


def main() -> int:
    """Run everything and write the page; returns the exit code."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        print(__doc__, file=sys.stderr)
        return 2
    demo = [sys.executable, str(ROOT / "deploy" / "demo")]
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates(folder)
        demo_up = subprocess.run([*demo, "up", "-o", "json"], stdout=subprocess.PIPE, check=True)
        try:
            shell = Shell(str(Path(sys.argv[1]).resolve()), folder)
            text = transcript(shell, folder, json.loads(demo_up.stdout))
        finally:
            subprocess.run([*demo, "down"], check=False)
    PAGE.write_text(before + MARKS[0] + text + MARKS[1] + after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
