"""`flowd observe` prints what the hubble CLI printed for the same command lines.

tests/hubble/compare.py renews the golden file, and compares with an installed hubble CLI.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.hubble import compare
from tests.support.cli_runner import Result, run_flowd

CASES = list(compare.cases())
HUBBLE = os.environ.get("HUBBLE_CLI") or shutil.which("hubble")

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(compare.GOLDEN)
    return lambda *args: run_flowd(monkeypatch, capsys, *args)


def test_the_golden_file_has_every_kind_of_case() -> None:
    words = "\n".join(line for line, _ in CASES)
    assert len(CASES) > 300
    for flag in (
        "-o table",
        "-o dict",
        "-o json",
        "--not",
        "--print-raw-filters",
        "--color always",
    ):
        assert flag in words


@pytest.mark.parametrize(("words", "wanted"), CASES, ids=[words for words, _ in CASES])
def test_the_same_as_hubble(run: Run, words: str, wanted: compare.Outcome) -> None:
    code, out, _ = run(*compare.split(words))
    assert out == wanted.text
    assert (code == 0) == wanted.done


@pytest.mark.skipif(not HUBBLE, reason="no hubble CLI in PATH or HUBBLE_CLI: golden files instead")
def test_flags_and_output_of_the_real_cli() -> None:
    command = [sys.executable, "-m", "tests.hubble.compare", str(HUBBLE)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=compare.ROOT)
    assert ran.returncode == 0, ran.stdout
