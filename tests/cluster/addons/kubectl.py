"""kubectl inside the first node, as the administrator."""

from pathlib import Path
from string import Template

from tests.cluster import places
from tests.cluster.images import catalogue as images
from tests.cluster.node.namespaces import Node
from tests.cluster.parts import catalogue as parts


def command(*words: str) -> list[str]:
    """The command line of kubectl as it runs inside the node."""
    settings = [f"--kubeconfig={places.kubeconfig()}", f"--cache-dir={places.state() / 'kubectl'}"]
    return [str(parts.KUBECTL.path("kubectl")), *settings, *words]


def kubectl(*words: str, stdin: str = "") -> str:
    """Output of kubectl.

    Raises:
        ClusterError: it failed.
    """
    return Node(1).run(*command(*words), stdin=stdin)


def apply(text: str) -> None:
    """Bring objects to the server: it merges them, so that large ones fit."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)


def filled(path: Path) -> str:
    """A manifest with the names of images in it."""
    return Template(path.read_text()).safe_substitute(images.names())
