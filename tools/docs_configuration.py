"""Write docs/configuration.md from the settings; `--check` fails when it is out of date."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flowd.config import setting_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration

Made from `flowd/settings.py` by `make docs`. A flag wins over the environment, the environment over
the file, the file over the default. `flowd config show` tells each value and where it came from;
`flowd config schema` prints the JSON Schema of the file.

The file is YAML, a setting a line: `--config FILE`, or `FLOWD_CONFIG`, or `/etc/flowd/config.yaml`
where it is there. In the environment, several values are separated by commas.

| setting | flag | environment | default | what it does |
| --- | --- | --- | --- | --- |
"""


def page() -> str:
    """Make the whole page."""
    rows: list[str] = []
    for info in setting_table():
        default = "the host's name" if info.name == "node_name" else f"`{info.default_text}`"
        choices = f" One of {', '.join(f'`{c}`' for c in info.choices)}." if info.choices else ""
        repeat = " Repeatable." if info.repeatable else ""
        shown = default if info.default_text else "none"
        rows.append(
            f"| `{info.name}` | `{info.flag}` | `{info.variable}` | {shown} "
            f"| {info.description}{choices}{repeat} |\n"
        )
    return HEAD + "".join(rows)


def main() -> int:
    """Write or check the page; returns the exit code."""
    text = page()
    if "--check" in sys.argv:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        print("docs/configuration.md is out of date: run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
