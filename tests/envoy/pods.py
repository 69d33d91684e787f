"""Pods (network namespaces) for a real Envoy: a client, a gateway and a backend on a node."""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass

from tests.kernel.net import Cluster, Pod, run

NODE = "10.244.0.250"


@dataclass(frozen=True)
class Pods:
    """Three pods on the bridge of a node with the address NODE."""

    cluster: Cluster
    client: Pod
    gateway: Pod
    backend: Pod


@contextlib.contextmanager
def pods_on_a_node() -> Generator[Pods]:
    """Create the pods, and keep this thread in the node's network namespace inside the block."""
    with Cluster() as made:
        run("ip", "-n", made.node, "address", "add", f"{NODE}/24", "dev", "br0")
        client, gateway, backend = (made.add_pod() for _ in range(3))
        with made.inside():
            yield Pods(made, client, gateway, backend)
