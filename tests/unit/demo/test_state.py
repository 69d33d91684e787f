"""The demo stops only its own processes and removes only its own files."""

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo import processes, state
from demo.cli import main
from demo.processes import DemoProcess
from demo.state import FILES, DemoState

if TYPE_CHECKING:
    import subprocess

STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(60)"
)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[tuple[DemoProcess, "subprocess.Popen[bytes]"]]:
    log = tmp_path / "child.log"
    process, popen = processes.spawn("child", [sys.executable, "-c", STUBBORN], log)
    try:
        while "ready" not in log.read_text() and popen.poll() is None:
            pass
        yield process, popen
    finally:
        popen.kill()
        popen.wait()


def test_process_is_known_by_pid_and_start_time(
    child: tuple[DemoProcess, "subprocess.Popen[bytes]"],
):
    process, popen = child
    assert process.alive()
    assert process.resident_bytes() > 0
    stranger = replace(process, started=process.started - 1)
    assert not stranger.alive()
    processes.stop([stranger], patience=0.01)
    assert popen.poll() is None, "a process that took over the pid must live"


def test_stop_kills_what_ignores_terminate(child: tuple[DemoProcess, "subprocess.Popen[bytes]"]):
    process, popen = child
    processes.stop([process], patience=0.2)
    assert popen.wait() == -signal.SIGKILL
    assert not process.alive()
    assert process.resident_bytes() == 0


def test_remove_leaves_strangers_files(tmp_path: Path):
    for name in FILES:
        (tmp_path / name).touch()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "routes.yaml").touch()
    (tmp_path / "thesis.tex").touch()
    state.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_state_survives_the_disk(tmp_path: Path):
    saved = DemoState(2, True, "127.0.79.1:9001", True, 20, "127.0.79.2:10080", True)
    saved.processes.append(DemoProcess("envoy", 2**22 + 1, 7))
    saved.save(tmp_path)
    assert state.load(tmp_path) == saved
    assert not saved.healthy(), "there is no such pid"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"processes": [{"pid": 1}]}', "\xff"])
def test_state_that_cannot_be_read_is_none(tmp_path: Path, content: str):
    (tmp_path / "state.json").write_bytes(content.encode("latin-1"))
    assert state.load(tmp_path) is None


def test_reserved_numbers_do_not_overlap(tmp_path: Path):
    taken = [state.reserve(tmp_path, count) for count in (10, 1, 300, 5)]
    assert taken == [1, 11, 12, 312]


def test_default_directory_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("FLOWD_DEMO_DIR", str(tmp_path / "a b"))
    assert state.default_directory() == tmp_path / "a b"


def test_status_without_a_demo_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--directory", str(tmp_path), "status"]) == 1
    assert capsys.readouterr().err == (
        f"demo: error: no demo in {tmp_path}\nhint: start one with: deploy/demo up\n"
    )


def test_down_without_a_demo_is_done(tmp_path: Path):
    assert main(["--directory", str(tmp_path), "down"]) == 0
