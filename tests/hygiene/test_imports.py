"""Modules that each command imports: heavy libraries only where the command needs them."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
sys.argv = ["flowd", *sys.argv[1:]]
from flowd.cli import main
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loaded(*args: str) -> set[str]:
    """Top-level modules that a run of `flowd` loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *args], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.mark.parametrize(
    ("args", "heavy"),
    [
        (("--help",), {"grpc", "textual", "numpy", "google", "opentelemetry", "bcc"}),
        (("--version",), {"grpc", "textual", "numpy", "google"}),
        (("observe", "--help"), {"grpc", "textual", "numpy", "opentelemetry"}),
        (("observe", "--print-raw-filters"), {"grpc", "textual", "numpy"}),
        (("status", "--help"), {"grpc", "textual", "numpy"}),
        (("version",), {"grpc", "textual", "numpy", "google", "bcc"}),
        (("completion", "zsh"), {"grpc", "textual", "numpy"}),
    ],
    ids=" ".join,
)
def test_commands_load_only_their_own_world(args: tuple[str, ...], heavy: set[str]) -> None:
    modules = loaded(*args)
    assert "click" in modules
    assert not modules & heavy


def test_observing_loads_neither_screen_nor_agent() -> None:
    code = "import flowd.commands.observe, flowd.observe.sources.connect, flowd.observe.sources.stream, sys; "
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"textual", "numpy", "opentelemetry", "flowd_exporters"}
