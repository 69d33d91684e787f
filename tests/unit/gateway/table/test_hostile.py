"""Untrusted manifests: one line for each error, and all other objects work."""

import logging
from pathlib import Path

import pytest

from flowd.errors import UsageError
from flowd.gateway.report.simulate import Request, match_request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.losses import Losses, Place

GOOD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: a}
spec: {listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: good, namespace: a}
spec: {parentRefs: [{name: gw}], hostnames: [good.test], rules: [{backendRefs: [{name: s, port: 80}]}]}
---
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: odd, namespace: a}
spec: {parentRefs: [{name: gw}], hostnames: [odd.test], rules: [%s]}
"""


def load(tmp_path: Path, text: str) -> tuple[Objects, Losses]:
    path = tmp_path / "some.yaml"
    path.write_text(GOOD + text)
    losses = Losses()
    return load_manifests([path], losses), losses


def name_of(objects: Objects, host: str, path: str = "/") -> str:
    found = match_request(RouteTable.build(objects), Request(host=host, path=path))
    return found.route.name if found.route else found.reason


@pytest.mark.parametrize(
    "text",
    [
        "spec: 7",
        "spec: {rules: 7}",
        "spec: {rules: [7]}",
        "spec: {parentRefs: {name: gw}}",
        "spec: {parentRefs: [{}]}",
        "spec: {hostnames: [7]}",
        "spec: {rules: [{matches: [{path: {type: Fuzzy}}]}]}",
        "spec: {rules: [{backendRefs: [{name: s, port: 70000}]}]}",
        "spec: {rules: [{backendRefs: [{name: s, weight: -1}]}]}",
        "spec: {rules: [{timeouts: 7}]}",
        "spec: {rules: [{filters: [{type: [a]}]}]}",
        "metadata: 7",
        'metadata: {name: ""}',
        "metadata: {name: [a]}",
        "metadata: {name: " + "a" * 300 + "}",
        "spec: {rules: [{matches: [{path: {value: " + "/a" * 2000 + "}}]}]}",
    ],
)
def test_wrong_types_are_told_in_one_line_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
    name = "" if text.startswith("metadata") else "metadata: {name: odd, namespace: a}\n"
    with caplog.at_level(logging.WARNING):
        objects, losses = load(tmp_path, head + name + text)
    assert losses.snapshot() == {(Place.MANIFEST, "invalid_object"): 1}
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 1500
    assert name_of(objects, "good.test") == "good"


def test_bombs_are_refused_in_one_line(tmp_path: Path) -> None:
    levels = [
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]" for n in range(9)
    ]
    deep = "a: " + "[" * 5000
    for text in ("a: &a [x]\n" + "\n".join(levels), deep, "a: &a [*a]"):
        path = tmp_path / "bomb.yaml"
        path.write_text(text)
        with pytest.raises(UsageError) as caught:
            load_manifests([path], Losses())
        assert "\n" not in str(caught.value)
        assert "bomb.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "(.*)(.*)(.*)(.*)(.*)x", "a{1,500}b?" * 2]
)
def test_expressions_that_explode_elsewhere_are_bounded(tmp_path: Path, pattern: str) -> None:
    rule = f"{{matches: [{{path: {{type: RegularExpression, value: '/{pattern}'}}}}]}}, {{}}"
    objects, _ = load(tmp_path, ROUTE % rule)
    for path in ("/" + "a" * 100_000 + "!", "/" + "a" * 100_000):
        assert name_of(objects, "odd.test", path) == "odd"


@pytest.mark.parametrize("pattern", ["(a", "(?=a)", r"(a)\1", "a{1000}{1000}", "[z-a]"])
def test_expressions_that_cannot_be_read_cost_one_rule(tmp_path: Path, pattern: str) -> None:
    rule = f"{{matches: [{{path: {{type: RegularExpression, value: '{pattern}'}}}}]}}, {{}}"
    objects, _ = load(tmp_path, ROUTE % rule)
    route = RouteTable.build(objects).routes["HTTPRoute", "a", "odd"]
    assert [entry.index for entry in route.rules] == [1]
    assert "bad regular expression" in route.problem


def test_names_that_come_twice_and_listeners_that_are_equal(tmp_path: Path) -> None:
    objects, losses = load(
        tmp_path, ROUTE % "{}" + "---" + (ROUTE % "{}").replace("odd.test", "new.test")
    )
    assert (objects.repeated, losses.snapshot()) == (1, {(Place.MANIFEST, "duplicate_name"): 1})
    assert name_of(objects, "new.test") == "odd"
    assert name_of(objects, "odd.test") == "route_not_found"
    twice = GOOD.replace("[{name: http,", "[{name: http, port: 80, protocol: HTTP}, {name: http,")
    path = tmp_path / "twice.yaml"
    path.write_text(twice)
    assert name_of(load_manifests([path], Losses()), "good.test") == "no_listener"


def test_references_in_a_circle(tmp_path: Path) -> None:
    circle = """
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: one, namespace: a}
spec: {parentRef: {kind: ListenerSet, name: one}, listeners: [{name: x, port: 81, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: self, namespace: a}
spec:
  parentRefs: [{kind: HTTPRoute, name: self}, {kind: ListenerSet, name: one}]
  rules: [{backendRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: self}]}]
"""
    objects, _ = load(tmp_path, circle)
    table = RouteTable.build(objects)
    (parent,) = table.parents["HTTPRoute", "a", "self"]
    assert [entry.reason for entry in parent.conditions] == ["NoMatchingParent", "InvalidKind"]
    assert name_of(objects, "good.test") == "good"


def test_objects_with_thousands_of_everything(tmp_path: Path) -> None:
    labels = ", ".join(f"label-{number}: v" for number in range(5000))
    rules = ", ".join(f"{{matches: [{{path: {{value: /p{number}}}}}]}}" for number in range(2000))
    hosts = ", ".join(f"h{number}.test" for number in range(2000))
    text = (ROUTE % rules).replace("namespace: a}", f"namespace: a, labels: {{{labels}}}}}")
    objects, losses = load(tmp_path, text.replace("odd.test", f"odd.test, {hosts}"))
    assert not losses.snapshot()
    assert name_of(objects, "odd.test", "/p1999") == "odd"
