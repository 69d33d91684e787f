"""How the agent ends: by SIGTERM with everything flushed, by SIGKILL with nothing left behind."""

import json
import shutil
import subprocess

import pytest

from tests.e2e.agent import can_capture

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(can_capture()), reason=can_capture() or "-")]


def programs() -> set[int]:
    """Ids of all loaded programs that are ours by name."""
    if not shutil.which("bpftool"):
        pytest.skip("bpftool is not installed: apt-get install bpftool")
    listed = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, check=True)
    return {p["id"] for p in json.loads(listed.stdout) if p.get("name", "").startswith("flowd")}
