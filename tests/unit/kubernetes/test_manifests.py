"""Manifest files: objects read, objects left out and counted, files rejected."""

import logging
import os
from pathlib import Path

import pytest

from flowd.errors import UsageError
from flowd.kubernetes.manifests import Manifests, load_manifests, manifest_files
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.losses import Losses, Place

DATA = Path(__file__).parents[2] / "data" / "manifests"


def load(tmp_path: Path, text: str, losses: Losses | None = None) -> Objects:
    path = tmp_path / "objects.yaml"
    path.write_text(text)
    return load_manifests([path], losses or Losses())


def test_a_folder_is_read_whole() -> None:
    losses = Losses()
    objects = load_manifests([DATA], losses)
    assert set(objects.http_routes) == {
        ("store", "split"),
        ("store", "secure"),
        ("store", "lost"),
        ("partner", "partner"),
        ("stranger", "intruder"),
    }
    assert objects.gateways["store", "front"].spec.listeners[2].hostname == "bank.store.test"
    assert objects.tcp_routes.keys() == {("store", "sql")}
    assert set(objects.nodes) == {("", "node-a"), ("", "node-b")}
    assert objects.services["store", "auth"].addresses() == []
    assert objects.pods["store", "shop-6d4cf56db6-x2x9p"].addresses() == ["10.0.0.11", "fd00:1::11"]
    assert losses.total() == 0


def test_nulls_are_fields_that_are_not_there(tmp_path: Path) -> None:
    objects = load(
        tmp_path,
        """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, creationTimestamp: null}
spec: {hostnames: null, rules: [{matches: null, backendRefs: [{name: b, weight: null}]}]}
""",
    )
    rule = objects.http_routes["default", "a"].spec.rules[0]
    assert (rule.matches, rule.backend_refs[0].weight) == ((), 1)


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}')
    assert load_manifests([tmp_path], Losses()).namespaces.keys() == {("", "a")}


def test_the_last_of_a_name_wins(tmp_path: Path) -> None:
    one = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {n: %s}}\n"
    objects = load(tmp_path, one % "first" + "---\n" + one % "second")
    assert objects.namespace_labels("a") == {"kubernetes.io/metadata.name": "a", "n": "second"}


def test_kinds_of_other_groups_are_passed_over(tmp_path: Path) -> None:
    losses = Losses()
    text = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mesh}
spec: {servers: 7}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: fn}
"""
    assert len(load(tmp_path, text, losses)) == 0
    assert losses.total() == 0


ROUTE = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
WRONG = [
    ("- 1\n- 2\n", "not a Kubernetes object"),
    ("just text\n", "not a Kubernetes object"),
    ("kind: Pod\n", "apiVersion or kind is missing"),
    ("apiVersion: v1\nkind: [Pod]\n", "apiVersion or kind is missing"),
    ("apiVersion: v1\nkind: Pod\n", "metadata"),
    ("apiVersion: v1\nkind: Pod\nmetadata: 7\n", "metadata"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: ''}\n", "length"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {version: 2}}\n", "labels"),
    ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {podIP: 300.1.1.1}\n", "300.1.1.1"),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 99999}]}\n",
        "65535",
    ),
    (
        ROUTE + "spec: {rules: [{matches: [{path: {type: Glob, value: /}}]}]}\n",
        "Glob",
    ),
    (
        ROUTE + "spec: {rules: [{backendRefs: [{name: b, weight: -1}]}]}\n",
        "weight",
    ),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_an_object_of_a_wrong_shape_is_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    losses = Losses()
    good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: good}\n"
    with caplog.at_level(logging.WARNING):
        objects = load(tmp_path, good + "---\n" + text, losses)
    assert objects.namespaces.keys() == {("", "good")}
    assert len(objects) == 1
    assert losses.snapshot() == {(Place.MANIFEST, "invalid_object"): 1}
    assert "objects.yaml:4" in caplog.text
    assert words in caplog.text


def test_names_in_warnings_are_printable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(tmp_path, 'apiVersion: v1\nkind: Pod\nmetadata: {name: "a\\e[31m", labels: 3}\n')
    assert "\x1b" not in caplog.text
    assert "^[" in caplog.text


def test_a_file_that_does_not_parse_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"objects\.yaml:3: ") as caught:
        load(tmp_path, "a: 1\nb: [1\nc: 2\n")
    assert "--manifests" in caught.value.hint


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        load_manifests([tmp_path / "absent"], Losses())


def test_a_file_over_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(UsageError, match="larger than 64 MiB"):
        load_manifests([path], Losses())


def test_hidden_files_and_other_suffixes_are_left_out(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "notes.txt", "sub/c.json", ".git/d.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    found = [str(path.relative_to(tmp_path)) for path in manifest_files([tmp_path])]
    assert found == ["a.yml", "b.yaml", "sub/c.json"]


def test_a_mounted_config_map_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "..data_1").mkdir()
    (tmp_path / "..data_1" / "a.yaml").write_text("")
    (tmp_path / "..data").symlink_to("..data_1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert manifest_files([tmp_path]) == [tmp_path / "a.yaml"]


def test_changes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    manifests = Manifests([tmp_path], Losses())
    assert manifests.changed()
    manifests.load()
    assert not manifests.changed()
    os.utime(path, ns=(1, 1))
    assert manifests.changed()
    manifests.load()
    (tmp_path / "b.yaml").write_text("")
    assert manifests.changed()
    manifests.load()
    path.unlink()
    assert manifests.changed()


def test_a_bad_change_is_reported_once_and_then_waits_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("")
    manifests = Manifests([path], Losses())
    manifests.load()
    path.write_text("a: [")
    assert manifests.changed()
    with pytest.raises(UsageError):
        manifests.load()
    assert not manifests.changed()
