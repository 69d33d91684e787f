"""Modules that `flowd top` imports: Textual only when the screen opens."""

import subprocess
import sys

import pytest

WITHOUT_SCREEN = [
    "flowd.commands.top",
    "flowd_tui.key_bindings",
    "flowd_tui.draw.cells",
    "flowd_tui.chrome",
    "flowd_tui.data.flow_line",
    "flowd_tui.once",
    "flowd_tui.order",
    "flowd_tui.views.query",
    "flowd_tui.data.source",
    "flowd_tui.draw.spark",
    "flowd_tui.data.store",
    "flowd_tui.views",
    "flowd_tui.views.help",
]


def loaded(module: str) -> set[str]:
    """First parts of all modules loaded after importing one in a fresh interpreter."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", WITHOUT_SCREEN)
def test_the_model_knows_no_terminal(module: str) -> None:
    assert not loaded(module) & {"textual", "rich", "flowd_bpf", "flowd_exporters"}


def test_the_command_is_light_until_it_runs() -> None:
    assert not loaded("flowd.commands.top") & {"grpc", "numpy", "flowd_tui"}


def test_the_screen_is_found() -> None:
    assert "textual" in loaded("flowd_tui.app")
