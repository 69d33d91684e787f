"""Compare the output of `flowd observe` with the hubble CLI's: flags, formats, filters.

    python -m tests.hubble.compare HUBBLE              the cases of tests/golden/hubble
    python -m tests.hubble.compare HUBBLE FILE...      cases with an input file, over these flow logs
    python -m tests.hubble.compare HUBBLE --server A  the same cases at a server, up to now
    python -m tests.hubble.compare HUBBLE --write      write HUBBLE's output to the golden file

Standard output is compared, and whether the exit code is 0. The exit code is 1 on a difference.
"""

import argparse
import difflib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "hubble"
CASES = GOLDEN / "observe.txt"
INPUT = "--input-file flows.json"
COMMANDS = (
    "observe",
    "observe agent-events",
    "observe debug-events",
    "list nodes",
    "list namespaces",
    "watch peers",
    "status",
)
_FLAG = re.compile(r"^ +(?:(-\w), )?(?:    )?(--[\w-]+)", re.MULTILINE)
_SHOWN = 6


@dataclass(frozen=True)
class Outcome:
    """Standard output of a command, and whether its exit code is 0."""

    text: str
    done: bool


def split(words: str) -> list[str]:
    """The words of a command line."""
    return shlex.split(words)


def run(program: list[str], words: str) -> Outcome:
    """Run a command line in the folder of the golden files."""
    ran = subprocess.run(
        [*program, *split(words)], cwd=GOLDEN, capture_output=True, timeout=60, check=False
    )
    return Outcome(ran.stdout.decode(errors="replace"), ran.returncode == 0)


def cases(path: Path = CASES) -> Iterator[tuple[str, Outcome]]:
    """The command lines of a golden file, without the program, with the expected outcomes."""
    for block in path.read_text().split("\n$ hubble ")[1:]:
        words, _, rest = block.partition("\n")
        text, _, code = rest.rpartition("=> ")
        yield words, Outcome(text, code.strip() == "0")


def write(hubble: list[str], path: Path = CASES) -> int:
    """Run every case of the golden file and write it anew; returns the number of changed cases."""
    old = list(cases(path))
    head = path.read_text().partition("\n$ hubble ")[0]
    new = [(words, run(hubble, words)) for words, _ in old]
    blocks = [f"\n$ hubble {words}\n{got.text}=> {int(not got.done)}" for words, got in new]
    path.write_text(head + "".join(blocks) + "\n")
    return sum(one != other for one, other in zip(old, new, strict=True))


def flags(program: list[str], command: str) -> set[str]:
    """The flags in the help of a hubble command."""
    found = _FLAG.findall(run(program, f"{command} --help").text)
    return {flag for pair in found for flag in pair if flag}


def our_flags(command: str) -> set[str]:
    """The flags of our command."""
    import click

    from flowd.cli import flowd

    ctx, found = click.Context(flowd), flowd
    for word in command.split():
        if isinstance(found, click.Group):
            found = found.get_command(ctx, word) or found
    taken = [name for param in found.get_params(ctx) for name in param.opts]
    return {*taken, *ctx.help_option_names, *flowd.context_settings["help_option_names"]}


def run_ours(words: str) -> Outcome:
    """Run our command in this process."""
    from click.testing import CliRunner

    from flowd.cli import flowd

    os.chdir(GOLDEN)
    ran = CliRunner().invoke(flowd, split(words), prog_name="flowd")
    return Outcome(ran.stdout, ran.exit_code == 0)


def differences(hubble: list[str], words: str) -> list[str]:
    """The lines that differ between hubble and flowd."""
    theirs, ours = run(hubble, words), run_ours(words)
    exits = [] if theirs.done == ours.done else [f"exit: hubble {theirs.done}, flowd {ours.done}"]
    lines = difflib.unified_diff(theirs.text.split("\n"), ours.text.split("\n"), n=0, lineterm="")
    return exits + list(lines)[2:]


def main() -> int:
    """Compare, print the differences, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("hubble", help="the hubble CLI")
    parser.add_argument("files", nargs="*", type=Path, help="flow logs to read")
    parser.add_argument("--server", help="a server to ask")
    parser.add_argument("--write", action="store_true", help="renew the golden file")
    args = parser.parse_args()
    hubble = [str(Path(args.hubble).resolve())]
    if args.write:
        print(f"{write(hubble)} cases changed")
        return 0
    wrong = 0
    for command in COMMANDS:
        missing = sorted(flags(hubble, command) - our_flags(command))
        wrong += bool(missing)
        if missing:
            print(f"{command}: not taken: {' '.join(missing)}")
    count = 0
    for words in _lines(args.files, args.server):
        count += 1
        found = differences(hubble, words)
        if found:
            wrong += 1
            print(f"$ {words}", *found[:_SHOWN], sep="\n  ")
    print(f"{len(COMMANDS)} commands' flags, {count} command lines: {wrong} differ")
    return 1 if wrong else 0


def _lines(files: list[Path], server: str | None) -> Iterator[str]:
    sources = [f"--input-file {shlex.quote(str(file.resolve()))}" for file in files]
    if server:
        sources.append(f"--server {server} --until {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    for words, _ in cases():
        if not sources:
            yield words
        elif INPUT in words:
            for source in sources:
                yield words.replace(INPUT, source)


if __name__ == "__main__":
    sys.exit(main())
