"""Write the example's output and the table of causes in docs/migration.md.

python tools/docs_migration.py            # write
python tools/docs_migration.py --check    # fail when the page is out of date
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from flowd.parity.catalog import CAUSES

PAGE = ROOT / "docs" / "migration.md"
EXAMPLE = ROOT / "docs" / "examples" / "parity"


def output() -> str:
    """What the page's first command prints."""
    words = [
        *("--before", EXAMPLE / "ingress.yaml", "--after", EXAMPLE / "naive.yaml"),
        *("--dialect-after", "eg", "--requests", EXAMPLE / "requests.jsonl"),
    ]
    command = [sys.executable, "-m", "flowd", "parity", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 1:
        raise SystemExit(f"the example ended with {done.returncode}: {done.stderr}")
    return f"```\n{done.stdout.rstrip()}\n```\n"


def causes() -> str:
    """A row for each cause id."""
    rows = "".join(
        f"| `{name}` | {what.replace('|', chr(92) + '|')} | {todo.replace('|', chr(92) + '|')} |\n"
        for name, (what, todo) in sorted(CAUSES.items())
    )
    return f"| cause | what happens | what to change |\n| --- | --- | --- |\n{rows}"


def page(text: str) -> str:
    """The page with both parts made anew."""
    text = _put(text, "<!-- output -->\n", "<!-- end of output -->", output())
    return _put(text, "<!-- causes: made by `make docs` -->\n", "<!-- end of causes -->", causes())


def _put(text: str, begin: str, end: str, made: str) -> str:
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{PAGE.name} lacks the mark {begin.strip()}")
    return f"{before}{begin}{made}{end}{after}"


def main() -> None:
    text = PAGE.read_text()
    made = page(text)
    if "--check" not in sys.argv:
        PAGE.write_text(made)
    elif made != text:
        print("docs/migration.md is out of date: run `make docs`", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
