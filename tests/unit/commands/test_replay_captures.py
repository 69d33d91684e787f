"""`flowd replay` on logs of a real Envoy: every entry against the expected route."""

import json

import pytest

from tests.support.attribution_truth import DEFAULT, DIALECTS, manifests, paired, sources
from tests.support.cli_runner import run_flowd

COUNTS = {
    "eg": [220, 222, 220, 220],
    "istio": [219, 221, 219, 219],
    "contour": [178, 178, 154, 178],
    "cilium": [166] * 4,
    "kgateway": [154] * 4,
}
"""Entries by source. The listener's log of refused connections only the second has, and Contour's
default text has no client's address by which a connection could be told."""
NO_LISTENER = {("contour", DEFAULT), ("cilium", DEFAULT), ("kgateway", DEFAULT)}
"""Sources that do not log the proxy's own address."""


@pytest.mark.parametrize(("dialect", "at"), [(name, at) for name in DIALECTS for at in range(4)])
def test_every_entry_has_its_route_and_backend(
    dialect: str,
    at: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, arguments = [*sources(dialect).items()][at]
    result = run_flowd(
        monkeypatch, capfd, "replay", *manifests(dialect), "--dialect", dialect, *arguments
    )
    assert result.code == 0, result.err
    entries = paired(dialect, [json.loads(line) for line in result.out.splitlines()])
    assert len(entries) == COUNTS[dialect][at]
    wrong = [(entry.wrong, entry.line, entry.truth) for entry in entries if entry.wrong]
    assert not wrong
    left_open = {name for entry in entries if entry.is_open for name, _ in entry.differing}
    assert left_open <= ({"gateway", "listener"} if (dialect, source) in NO_LISTENER else set())
