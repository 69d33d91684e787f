"""BackendTLSPolicies in descriptions, explanations and tables."""

from pathlib import Path

import pytest

from flowd.gateway.report.describe import describe
from flowd.gateway.report.explain import explain
from flowd.gateway.report.simulate import Request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.manifests import load_manifests
from flowd.model.losses import Losses
from tests.support.cli_runner import run_flowd

OBJECTS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: a}
spec: {listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: a}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: web, port: 443}, {name: web, port: 8443}, {name: plain, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: a}
spec: {ports: [{name: main, port: 443}, {name: admin, port: 8443}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: a}
spec: {ports: [{port: 80}]}
"""
POLICY = """---
apiVersion: gateway.networking.k8s.io/%s
kind: BackendTLSPolicy
metadata: {name: %s, namespace: a, creationTimestamp: '202%d-01-01T00:00:00Z'}
spec:
  targetRefs: [{group: '', kind: Service, name: %s}]
  validation: {hostname: %s, wellKnownCACertificates: System}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "objects.yaml"
    policies = [
        ("v1", "whole", 2, "web", "web.internal"),
        ("v1alpha3", "admin", 3, "web, sectionName: admin", "admin.internal"),
        ("v1", "late", 4, "web", "late.internal"),
        ("v1", "lost", 1, "gone", "x.internal"),
        ("v1", "port", 1, "plain, sectionName: none", "x.internal"),
    ]
    path.write_text(OBJECTS + "".join(POLICY % policy for policy in policies))
    return path


def test_the_port_then_the_service_and_the_oldest_hold(manifest: Path) -> None:
    known = describe(RouteTable.build(load_manifests([manifest], Losses())))
    backends = known.routes[0].rules[0].backends
    assert [(entry.name, entry.port, entry.tls) for entry in backends] == [
        ("web", 443, "web.internal, whole"),
        ("web", 8443, "admin.internal, admin"),
        ("plain", 80, ""),
    ]
    assert {entry.object.rpartition("/")[2]: entry.what for entry in known.problems} == {
        "late": "Conflicted: whole has its target",
        "lost": "targetRef Service gone is not there",
        "port": "targetRef Service plain port none is not there",
    }


def test_explained_and_listed(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = RouteTable.build(load_manifests([manifest], Losses()))
    assert explain(table, Request(host="any.test", path="/")).tls == {
        "a/web:443": "web.internal, whole",
        "a/web:8443": "admin.internal, admin",
    }
    given = ["--manifests", str(manifest)]
    _, told, _ = run_flowd(monkeypatch, capsys, "routes", "explain", *given, "--host", "any.test")
    assert "admin.internal, admin" in told
    _, told, _ = run_flowd(monkeypatch, capsys, "routes", "list", *given)
    assert "a/web:443 (TLS web.internal, whole)" in told
    assert "BackendTLSPolicy/a/late" in told.partition("WRONG")[2]
