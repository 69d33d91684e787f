"""Bring the cluster up, tell how it is, and take it down without a trace."""

import contextlib
import shutil
from pathlib import Path

from tests.cluster import places
from tests.cluster.addons import install
from tests.cluster.addons.kubectl import kubectl
from tests.cluster.commands import wait_for
from tests.cluster.errors import ClusterError
from tests.cluster.images import catalogue as images
from tests.cluster.images import store
from tests.cluster.node import cgroups, kubelet, namespaces, network, runtime
from tests.cluster.node.namespaces import Node
from tests.cluster.parts import catalogue as parts
from tests.cluster.plane import control, pki
from tests.cluster.say import say, step

LOGS_AFTER_FAILURE = Path("/var/tmp/flowd-cluster-failed")


def up(gateway_api: str, count: int, keep: bool = False) -> list[str]:
    """Bring the cluster up from whatever is there; returns what does not run.

    Args:
        gateway_api: a key of versions.GATEWAY_API.
        count: how many nodes.
        keep: leave a start that failed as it is, to look at it.

    Raises:
        ClusterError: a vital part failed; nothing is left but the logs, if it was not to be kept.
    """
    lacking = [f"part {part.name} {part.version}" for part in parts.finish()]
    down()
    try:
        return lacking + _up(gateway_api, [Node(number + 1) for number in range(count)])
    except BaseException:
        if keep:
            raise
        with contextlib.suppress(OSError):
            shutil.copytree(places.state() / "log", LOGS_AFTER_FAILURE)
            say(f"logs of the failed start: {LOGS_AFTER_FAILURE}")
        _end()
        raise


def _up(gateway_api: str, nodes: list[Node]) -> list[str]:
    first, *others = nodes
    with step("keys, namespaces and control plane"):
        pki.make(nodes)
        store.restore()
        namespaces.make(first, store.folder())
        network.begin(first)
        server = control.begin(first, parts.ETCD, parts.KUBERNETES)
    with step("containerd and images"):
        missing = _containerd(first)
        for each in others:
            store.copy_for(each.number)
            namespaces.make(each, store.folder(each.number))
            network.join(each, nodes[: each.number - 1])
            runtime.start_containerd(each, parts.DEBIAN)
    with step("API server"):
        control.complete(server, first, parts.KUBERNETES, parts.KUBECTL)
    with step("nodes"):
        for each in nodes:
            runtime.write_network(each)
            kubelet.start_kubelet(each, parts.KUBERNETES)
            kubelet.start_proxy(each, parts.KUBERNETES)
        applied = install.install(gateway_api)
        for each in nodes:
            _register(each)
    with step("pods"):
        late = install.await_all(applied, 180)
    return missing + late


def _containerd(node: Node) -> list[str]:
    """Start containerd with all images in its store; returns those that are not there."""
    daemon = runtime.start_containerd(node, parts.DEBIAN)
    todo = store.outdated(images.ALL)
    if todo:
        say(f"{len(todo)} images are not in the store")
        stamps = store.bring_in(node, todo)
        daemon.process.terminate()
        daemon.process.wait(20)
        store.keep(stamps)
        runtime.start_containerd(node, parts.DEBIAN)
    have = store.imported()
    return [f"image {image.reference}" for image in images.ALL if image.reference not in have]


def _register(node: Node) -> None:
    """Wait for a node that is ready, and tell the server of its pods' network."""

    def there() -> bool:
        with contextlib.suppress(ClusterError):
            return bool(kubectl("get", "node", node.name, "-o", "name"))
        return False

    wait_for(f"{node.name} in the cluster", there, 60)
    network_of_pods = f'{{"spec": {{"podCIDR": "{node.pods}", "podCIDRs": ["{node.pods}"]}}}}'
    kubectl("patch", "node", node.name, "-p", network_of_pods)
    kubectl("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=90s")


def down() -> None:
    """End every process of the cluster and remove what it had; also the logs of a failed start.

    Raises:
        ClusterError: a cgroup stays.
    """
    _end()
    shutil.rmtree(LOGS_AFTER_FAILURE, ignore_errors=True)


def _end() -> None:
    if left := cgroups.end_all():
        raise ClusterError(f"cgroups that could not be removed: {', '.join(left)}")
    shutil.rmtree(places.state(), ignore_errors=True)


def running() -> bool:
    """Whether there is a cluster."""
    return Node(1).pid() != 0
