"""What of the cluster can be checked without starting it: parts, images, and the scripts for nodes."""

import json
from pathlib import Path

import pytest
import yaml

from tests.cluster import places, versions
from tests.cluster.addons.install import flowd_objects
from tests.cluster.errors import ClusterError
from tests.cluster.images import catalogue as images
from tests.cluster.images import store
from tests.cluster.node import kubelet, namespaces, runtime
from tests.cluster.node.namespaces import Node
from tests.cluster.parts import catalogue, kubernetes
from tests.cluster.parts.part import Part

UPSTREAM = """
module k8s.io/kubernetes

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/client-go => ./staging/src/k8s.io/client-go
\tk8s.io/elsewhere => ../elsewhere
)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache and a state of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FLOWD_CLUSTER_DIR", str(tmp_path / "state"))
    return tmp_path / "cache" / "flowd-cluster"


def test_kubernetes_is_built_with_its_staged_modules_as_published() -> None:
    text = kubernetes.go_mod(UPSTREAM, "v1.37.2")
    assert "require k8s.io/kubernetes v1.37.2\n" in text
    assert "\tk8s.io/api => k8s.io/api v0.37.2\n" in text
    assert "\tk8s.io/client-go => k8s.io/client-go v0.37.2\n" in text
    assert "elsewhere" not in text


def test_a_part_that_cannot_be_had_is_named_and_the_rest_goes_on(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Part) -> None:
        raise ClusterError("no such module")

    def write(part: Part) -> None:
        (part.folder / "program").touch()

    lacking = Part("lacking", "v1", ("program",), refuse, 1, "nothing much")
    there = Part("there", "v2", ("program",), write, 1, "everything")
    assert catalogue.finish((lacking, there)) == [lacking]
    assert (cache / "there-v2" / "program").exists()
    said = capsys.readouterr().err
    assert "lacking v1 cannot be had, so there is no nothing much: no such module" in said
    assert catalogue.finish((there,)) == []


def test_a_part_without_which_nothing_runs_ends_it() -> None:
    def forget(_: Part) -> None:
        """Make nothing."""

    with pytest.raises(ClusterError, match="needed for everything"):
        catalogue.finish((Part("vital", "v1", ("program",), forget, 1, "everything", vital=True),))


def test_every_part_has_a_folder_of_its_own_by_version(cache: Path) -> None:
    folders = [part.folder for part in catalogue.ALL]
    assert len(set(folders)) == len(folders)
    assert catalogue.KUBERNETES.folder == cache / f"kubernetes-{versions.KUBERNETES}"


def test_images_of_missing_parts_are_not_made() -> None:
    made = {image.reference for image in store.outdated(images.ALL)}
    assert images.COREDNS not in made
    assert {images.TOOLS, images.FLOWD} <= made


def test_the_stamp_of_our_image_follows_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flowd").mkdir()
    for name in images.FLOWD_FILES:
        if "." in name or name == "LICENSE":
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(name)
    if not (tmp_path / "deploy/Dockerfile").exists():
        (tmp_path / "deploy").mkdir(exist_ok=True)
        (tmp_path / "deploy/Dockerfile").write_text("FROM debian")
    monkeypatch.setattr(places, "ROOT", tmp_path)
    before = images.flowd_stamp()
    (tmp_path / "flowd" / "__pycache__").mkdir()
    (tmp_path / "flowd" / "__pycache__" / "agent.pyc").touch()
    assert images.flowd_stamp() == before
    (tmp_path / "flowd" / "agent.py").write_text("pass")
    assert images.flowd_stamp() != before


def test_a_store_is_as_after_the_import_again(cache: Path) -> None:
    for name in store.DATABASES:
        path = store.folder() / name
        path.parent.mkdir(parents=True)
        path.write_text("imported")
    (store.folder() / store.SNAPSHOTS / "1").mkdir(parents=True)
    store.keep({"image": "stamp"})
    (store.folder() / store.SNAPSHOTS / "2").mkdir()
    for name in store.DATABASES:
        (store.folder() / name).write_text("containers ran")
    store.restore()
    assert store.imported() == {"image": "stamp"}
    assert {path.name for path in (store.folder() / store.SNAPSHOTS).iterdir()} == {"1"}
    assert all((store.folder() / name).read_text() == "imported" for name in store.DATABASES)


def test_settings_of_a_node_are_what_their_programs_read() -> None:
    node = Node(2)
    assert (node.name, node.address, node.pods) == ("node2", "10.77.0.2", "10.244.1.0/24")
    settings = yaml.safe_load(kubelet.kubelet_settings(node))
    assert settings["containerRuntimeEndpoint"] == f"unix://{runtime.SOCKET}"
    assert yaml.safe_load(kubelet.proxy_settings(node))["hostnameOverride"] == "node2"
    script = namespaces.mounts(node, Path("/a store"))
    assert "mount --bind '/a store' /var/lib/containerd" in script
    assert script.index("mount -t tmpfs -o mode=755 node /run") < script.index("/run/overlay")


def test_manifests_are_whole_when_images_are_filled_in() -> None:
    from tests.cluster.addons.kubectl import filled

    for path in sorted(places.MANIFESTS.glob("*.yaml")):
        text = filled(path)
        assert "$" not in text, path.name
        assert all(each["kind"] for each in yaml.safe_load_all(text))


def test_our_daemon_set_is_the_one_that_is_delivered_but_for_image_and_where_spans_go() -> None:
    delivered = list(yaml.safe_load_all((places.ROOT / "deploy/flowd.yaml").read_text()))
    ours = flowd_objects()
    daemons = next(each for each in ours if each["kind"] == "DaemonSet")
    container = daemons["spec"]["template"]["spec"]["containers"][0]
    assert container["env"].pop()["name"] == "FLOWD_OTLP_ENDPOINT"
    assert container["image"].rpartition("/")[2] == "flowd:latest"
    container["image"] = "flowd:latest"
    assert json.dumps(ours) == json.dumps(delivered)
