"""Recorded logs of a real Envoy through `flowd replay`: every entry against the truth."""

import json

import pytest

from tests.attribution_truth import EXTENSIONS, SOURCES, manifests, paired, paths
from tests.unit.cli_runner import run_flowd

COUNTS = {
    ("eg", "ALS"): 220,
    ("eg", "JSON, every operator"): 222,
    ("eg", "default file format"): 220,
    ("eg", "OTLP logs"): 220,
    ("istio", "ALS"): 219,
    ("istio", "JSON, every operator"): 221,
    ("istio", "default file format"): 219,
    ("istio", "OTLP logs"): 219,
}
"""Entries in the recordings; the listener's log of refused connections only the second has."""


@pytest.mark.parametrize("dialect", EXTENSIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_entry_has_its_route_and_backend(
    dialect: str,
    source: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    files = [str(path) for path in paths(dialect, source)]
    result = run_flowd(
        monkeypatch, capfd, "replay", *manifests(dialect), "--dialect", dialect, *files
    )
    assert result.code == 0, result.err
    entries = paired(dialect, [json.loads(line) for line in result.out.splitlines()])
    assert len(entries) == COUNTS[dialect, source]
    wrong = [(entry.wrong, entry.line, entry.truth) for entry in entries if entry.wrong]
    assert not wrong
