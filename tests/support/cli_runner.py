"""Run the `flowd` command in the test's process."""

import sys
from typing import NamedTuple

import pytest

from flowd.cli import main


class Result(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run_flowd(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str
) -> Result:
    """Run `flowd` with arguments, from its entry point to its exit."""
    monkeypatch.setattr(sys, "argv", ["flowd", *args])
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return Result(int(exit_.value.code or 0), captured.out, captured.err)
