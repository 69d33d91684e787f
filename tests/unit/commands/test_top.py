"""`flowd top` as a command: --once in both formats, exit codes, messages without a server."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.cli_runner import run_flowd

ROOT = Path(__file__).resolve().parents[3]


def serve(*options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "tests.fakes.top_server", "--listen", "127.0.0.1:0", *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    port = server.stdout.readline().split()[-1]
    return server, f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server, where = serve()
    try:
        yield where
    finally:
        server.kill()
        server.communicate()


def test_once_prints_the_gateways(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    result = run_flowd(monkeypatch, capsys, "top", "--server", address, "--view=gateways", "--once")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].startswith("GATEWAY / ROUTE / BACKEND")
    assert all(len(line) <= 100 for line in lines)
    assert any("echo-2:3000" in line and "w 5" in line.replace("w5", "w 5") for line in lines)
    assert any("RefNotPermitted: backend dev2/api" in line for line in lines)
    assert any("(no route) route_not_found" in line for line in lines)


def test_once_for_programs(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("top", "--server", address, "--view=gateways", "--once", "-o", "json")
    result = run_flowd(monkeypatch, capsys, *args, "--window=10s")
    rows = [json.loads(line) for line in result.out.splitlines()]
    split = [row for row in rows if row["kind"] == "backend" and row["seen_percent"]]
    assert {row["weight"] for row in split} == {95, 5}
    assert sum(row["seen_percent"] for row in split) == pytest.approx(100)
    assert rows[0]["seconds"] == pytest.approx(10, abs=1.5)
    assert rows[0]["requests"] == sum(rows[0]["status"].values())
    told, parts = rows[0]["split"], ("client_network_us", "gateway_us", "pod_network_us", "pod_us")
    assert 0 < told["requests"] < rows[0]["requests"]
    assert all(told[part] > 0 for part in parts)
    assert [row["split"] for row in rows if row["name"].startswith("(no route)")] == [None]


def test_once_prints_flows_and_filters_them(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("top", "--server", address, "--once")
    everything = run_flowd(monkeypatch, capsys, *args).out.splitlines()
    assert len(everything) == 301
    dropped = run_flowd(monkeypatch, capsys, *args, "--filter", "verdict=dropped", "--ascii")
    assert 1 < len(dropped.out.splitlines()) < 100
    assert all("x drop" in line for line in dropped.out.splitlines()[1:])
    assert dropped.out.isascii()
    named = run_flowd(monkeypatch, capsys, *args, "-n", "demo", "-o", "json").out.splitlines()
    rows = [json.loads(line) for line in named]
    assert rows
    assert all("demo" in (r["source"]["namespace"], r["destination"]["namespace"]) for r in rows)
    nothing = run_flowd(monkeypatch, capsys, *args, "--filter", "no-such-word")
    assert (nothing.code, nothing.out.splitlines()[0]) == (
        0,
        "None of 300 flows matches  no-such-word",
    )


def test_errors_say_what_and_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = run_flowd(monkeypatch, capsys, "top", "--once", "--server", "127.0.0.1:1")
    assert refused.code == 3
    assert "cannot reach 127.0.0.1:1" in refused.err
    bad = run_flowd(monkeypatch, capsys, "top", "--filter", "htp-status=5")
    assert bad.code == 2
    assert "did you mean http-status?" in bad.err
    wrong = run_flowd(monkeypatch, capsys, "top", "--server", "http://x", "--once")
    assert wrong.code == 2


def test_without_a_terminal_it_points_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_flowd(monkeypatch, capsys, "top")
    assert result.code == 2
    assert "top --once" in result.err
    assert "observe" in result.err


def test_in_a_terminal_it_shows_waits_and_quits(address: str) -> None:
    """The real program in a real terminal, until the fake server's flows are on its screen."""
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLUMNS": "100"}
    command = [sys.executable, "-m", "flowd", "top", "--server", address, "--no-mouse"]
    program = subprocess.Popen(
        command, cwd=ROOT, stdin=child, stdout=child, stderr=child, env=environment
    )
    os.close(child)
    seen = bytearray()
    found = threading.Event()

    def read() -> None:
        with suppress(OSError):
            while chunk := os.read(parent, 65536):
                seen.extend(chunk)
                if b"shop/redis-0" in seen:
                    found.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert found.wait(60), bytes(seen[-2000:])
        os.write(parent, b"q")
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.wait()
        reader.join(10)
        os.close(parent)


def test_the_picture_is_of_the_real_program(address: str, tmp_path: Path) -> None:
    picture = tmp_path / "a folder" / "top.svg"
    words = ["tools/screenshot.py", "--server", address, "--output", str(picture), "--wait", "0"]
    made = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    svg = picture.read_text()
    assert svg.startswith("<svg")
    assert "echo-split" in svg
    assert "url(https://" not in svg.replace('"', "").replace(" ", "")
    refused = subprocess.run(
        [sys.executable, "tools/screenshot.py", "--server", "127.0.0.1:1", "--timeout", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 3
    assert "cannot reach 127.0.0.1:1" in refused.stderr
