"""docs/attribution.md agrees with the recordings."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_of_attribution_is_up_to_date() -> None:
    tool = ROOT / "tools" / "docs_attribution.py"
    command = [sys.executable, tool, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
