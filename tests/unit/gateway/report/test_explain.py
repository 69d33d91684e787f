"""Explanations why routes lose, problems in `list`, and both on the command line."""

import json
from pathlib import Path

import pytest

from flowd.gateway.report.explain import explain
from flowd.gateway.report.simulate import Request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.manifests import load_manifests
from flowd.model.losses import Losses
from tests.support.cli_runner import run_flowd

DATA = Path(__file__).parents[3] / "data" / "routes"


def verdicts(name: str, dialect: str = "spec", **fields: object) -> dict[str, str]:
    table = RouteTable.build(load_manifests([DATA / f"{name}.yaml"], Losses()), dialect)
    found = explain(table, Request(**fields))  # pyright: ignore[reportArgumentType]
    return {
        f"{entry.kind}/{entry.namespace}/{entry.name}#{entry.rule}.{entry.match}": entry.verdict
        for entry in found.considered
    }


def test_every_demand_that_is_not_met_is_named() -> None:
    found = verdicts(
        "matches", host="tests.test", path="/m?q=1", headers={"x-one": "1", "x-two": "3"}
    )
    assert found["HTTPRoute/a/tests#0.0"] == "taken"
    assert found["HTTPRoute/a/tests#1.0"] == "fits, but a method decides for PathPrefix /m GET"
    assert found["HTTPRoute/a/tests#3.0"] == "header x-two=2 does not fit 3"
    assert found["HTTPRoute/a/tests#5.0"] == "query parameter Q is not there"
    assert found["HTTPRoute/a/tests#6.0"] == "path /m does not fit PathPrefix /m/deep"
    assert found["HTTPRoute/a/tests#11.0"] == "method GET is not PATCH"
    assert found["HTTPRoute/a/young#-1.-1"] == "no hostname covers tests.test"


def test_ties_are_explained() -> None:
    found = verdicts("matches", host="ties.test", path="/t")
    assert found["HTTPRoute/a/young#0.0"] == "fits, but HTTPRoute late is older"
    found = verdicts("matches", host="ties.test", path="/u")
    assert found["HTTPRoute/a/b1#0.0"] == "fits, but HTTPRoute a1 comes first by name"
    assert found["HTTPRoute/a/a1#1.0"] == "fits, but rule 0 of the route comes first"


def test_hosts_listeners_and_attachment_are_explained() -> None:
    found = verdicts("hosts", host="more.exact.wild.test", path="/", port=80)
    assert found["HTTPRoute/a/exact#0.0"] == "taken"
    assert found["HTTPRoute/a/hosts#-1.-1"].endswith("of another route is more specific")
    assert found["HTTPRoute/a/wide#-1.-1"] == "not attached to listener any of a/gw"
    assert found["HTTPRoute/c/tin#-1.-1"].startswith("attached nowhere: NotAllowedByListeners")
    found = verdicts("streams", port=8443, sni="x.w.test")
    assert found["TLSRoute/a/deep#-1.-1"] == "no hostname covers server name x.w.test"
    assert found["TLSRoute/a/late#0.0"] == "fits, but TLSRoute exact is older"


def test_merged_routes_and_services_are_explained() -> None:
    found = verdicts("merged", "cilium", host="m.test", path="/x")
    assert found["HTTPRoute/a/two#0.0"] == "merged with the match that takes it"
    found = verdicts("mesh", host="shop.a", path="/p")
    assert found["HTTPRoute/a/prod#1.0"] == "taken"
    assert found["HTTPRoute/a/noport#-1.-1"].startswith("attached nowhere: NoMatchingParent")


@pytest.mark.parametrize("name", sorted(path.stem for path in DATA.glob("*.yaml")))
def test_the_taken_one_is_the_one_of_the_answer(name: str) -> None:
    objects = load_manifests([DATA / f"{name}.yaml"], Losses())
    for line in (DATA / f"{name}.jsonl").read_text().splitlines():
        case = json.loads(line)
        found = explain(
            RouteTable.build(objects, case.get("dialect", "spec")), Request(**case["request"])
        )
        taken = [entry for entry in found.considered if entry.verdict == "taken"]
        assert len(taken) == (found.outcome.route is not None), line
        assert all(entry.verdict for entry in found.considered)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--manifests", str(DATA / "matches.yaml"), "--host", "tests.test", "--path", "/m"]
    args = ["routes", "explain", *asked, "--method", "PUT", "--header", "X-One: 1"]
    code, out, err = run_flowd(monkeypatch, capsys, *args, "-o", "json")
    known = json.loads(out)
    assert (code, err, known["outcome"]["route"]["rule"]) == (0, "", 2)
    code, out, _ = run_flowd(monkeypatch, capsys, *args)
    assert "taken" in out
    code, _, err = run_flowd(monkeypatch, capsys, "routes", "explain", *asked, "--header", "x")
    assert (code, "NAME:VALUE" in err) == (2, True)


def test_list_tells_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(name: str) -> str:
        path = str(DATA / f"{name}.yaml")
        _, out, _ = run_flowd(monkeypatch, capsys, "routes", "list", "--manifests", path)
        return out.partition("WRONG")[2]

    hosts = wrong("hosts")
    assert "HostnameConflict: serves nothing" in hosts
    assert "HTTPRoute/c/tin" in hosts
    assert "attached to nothing" in hosts
    effects = wrong("effects")
    assert "rule 7 backend a/empty:80: no ready endpoints" in effects
    assert "rule 1: every weight is 0" in effects
    assert "rule 5 backend b/closed:80: RefNotPermitted" in effects
    assert wrong("merged") == ""
    sets = wrong("listenersets")
    assert "a/gw/b/later/extra" in sets
    assert "a/gw/b/set/extra" not in sets


def test_a_hostname_beside_its_listener_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "more.yaml"
    path.write_text("""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two, namespace: a}
spec: {parentRefs: [{name: gw, sectionName: wide}], hostnames: [x.iso.test, far.test], rules: [{}]}
""")
    args = ["routes", "list", "--manifests", str(DATA / "hosts.yaml"), "--manifests", str(path)]
    _, out, _ = run_flowd(monkeypatch, capsys, *args)
    assert "hostname far.test is not reached" in out
    assert "hostname x.iso.test" not in out
