"""`flowd routes headers`: the YAML names every header that a match reads."""

from typing import Any

import pytest
import yaml

from flowd.accesslog.jsonformat import reader_by_keys
from tests.support.attribution_truth import manifests
from tests.support.cli_runner import run_flowd


@pytest.mark.parametrize(
    ("dialect", "kinds"),
    [
        ("eg", ["EnvoyProxy"]),
        ("istio", [None, "Telemetry"]),
        ("cilium", ["CiliumGatewayClassConfig"]),
        ("contour", ["ContourDeployment"]),
        ("kgateway", ["HTTPListenerPolicy", "HTTPListenerPolicy"]),
    ],
)
def test_objects_and_headers_by_implementation(
    dialect: str,
    kinds: list[str | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("routes", "headers", *manifests("eg"), "--dialect", dialect)
    result = run_flowd(monkeypatch, capsys, *words)
    assert result.code == 0, result.err
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(result.out))
    assert [document.get("kind") for document in documents] == kinds
    assert "canary" in result.out.lower()
    assert "traceparent" in result.out.lower()
    if dialect == "cilium":
        keys = documents[0]["spec"]["telemetry"]["accessLogs"][0]["json"]
        targets = reader_by_keys(tuple(keys)).plan.targets
        assert len(keys) <= 64  # Cilium's limit
        assert {"header:canary", "traceparent", "client", "local", "up_local", "up_remote",
                "cluster", "time", "duration", "host_any", "path_any"} <= set(targets)  # fmt: skip


def test_a_service_that_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("routes", "headers", *manifests("eg"), "--service", "flowd")
    assert run_flowd(monkeypatch, capsys, *words).code == 2
