"""`flowd parity` as a user runs it."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.cli_runner import Result, run_flowd

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  ingressClassName: nginx
  rules:
    - host: store.test
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: eg
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  hostnames: [store.test]
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: SERVICE, port: 80}]}]
"""
LINE = (
    '192.0.2.9 - - [01/Dec/2026:10:00:00 +0000] "GET %s HTTP/1.1" 200 12 "-" "-" 90 0.004 '
    "[shop-web-80] [] 10.0.0.7:80 12 0.004 200 0123456789abcdef\n"
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Objects, requests and a log in a folder."""
    (tmp_path / "old.yaml").write_text(INGRESS)
    (tmp_path / "new.yaml").write_text(ROUTE.replace("SERVICE", "web"))
    (tmp_path / "other.yaml").write_text(ROUTE.replace("SERVICE", "other"))
    (tmp_path / "requests.jsonl").write_text('{"host": "store.test", "path": "/a", "count": 3}\n')
    (tmp_path / "access.log.gz").write_bytes(
        gzip.compress((LINE % "/a" * 999 + LINE % "//b").encode())
    )
    return tmp_path


Run = Callable[..., Result]


@pytest.fixture
def run(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `flowd parity` in the folder."""
    monkeypatch.chdir(files)

    def parity(*words: str, before: str = "old.yaml", after: str = "new.yaml") -> Result:
        objects = ("--before", before, "--after", after)
        return run_flowd(monkeypatch, capsys, "parity", *objects, *words)

    return parity


def test_same_routes_end_with_0(run: Run) -> None:
    done = run("--requests", "requests.jsonl")
    assert done.code == 0
    assert "3 requests, same 3 (100.00 %)" in done.out


def test_a_log_beyond_the_allowed_share_ends_with_1(run: Run) -> None:
    words = ("--log", "access.log.gz", "--dialect-after", "eg")
    done = run(*words, "--allow", "0.0009")
    assert done.code == 1
    assert "DIFFERENT  merge-slashes  1 requests, 0.10 %" in done.out
    assert run(*words, "--allow", "0.1%").code == 0


def test_another_backend_is_a_difference_of_two_sets_of_routes(run: Run) -> None:
    done = run(
        *("--requests", "requests.jsonl", "--dialect-after", "eg"),
        before="new.yaml",
        after="other.yaml",
    )
    assert done.code == 1
    assert "routes-changed" in done.out


@pytest.mark.parametrize("form", ["table", "json", "junit", "html"])
def test_every_format(run: Run, form: str) -> None:
    done = run("--requests", "requests.jsonl", "-o", form)
    assert done.code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "either --log or --requests"),
        (["--requests", "bad.jsonl"], "line 1"),
        (["--log", "nowhere.log"], "nowhere.log"),
        (["--log", "empty.log"], "no request to compare"),
        (["--requests", "requests.jsonl", "--allow", "2"], "not between 0 and 1"),
        (["--requests", "requests.jsonl", "--configmap", "bad.jsonl"], "--configmap"),
    ],
    ids=str,
)
def test_wrong_input_is_a_usage_error(run: Run, files: Path, words: list[str], said: str) -> None:
    (files / "bad.jsonl").write_text("[1\n")
    (files / "empty.log").write_text("")
    done = run(*words)
    assert done.code == 2
    assert said in done.err


def test_a_controller_without_its_objects_is_a_usage_error(run: Run) -> None:
    words = ("--requests", "requests.jsonl", "--dialect-before", "ingress-nginx")
    done = run(*words, before="new.yaml")
    assert done.code == 2
    assert "no Ingress" in done.err
