"""containerd with Debian's runc and CNI plugins, and the bridge network of a node's pods."""

import json
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.node.launch import Daemon, start
from tests.cluster.node.namespaces import Node
from tests.cluster.parts.part import Part

SOCKET = "/run/containerd/containerd.sock"
PAUSE = f"localhost/pause:{versions.PAUSE}"


def configuration(part: Part) -> str:
    """containerd's settings; its store is where the node has the kept one."""
    return f"""\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{part.folder / "root"}/usr/lib/cni"
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "{part.path("runc")}"
  SystemdCgroup = false
"""


def start_containerd(node: Node, part: Part) -> Daemon:
    """Start containerd and wait until it answers."""
    settings = places.state() / f"{node.name}-containerd.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(configuration(part))
    programs = part.folder / "root/usr/bin"
    path = f"PATH={programs}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    daemon = start(
        node, f"{node.name}-containerd", "env", path, programs / "containerd", "--config", settings
    )
    daemon.await_ready(30, ctr(part, "version"), node)
    return daemon


def ctr(part: Part, *words: str | Path) -> list[str]:
    """The command line of containerd's own client, for the images and containers of Kubernetes."""
    program = part.folder / "root/usr/bin/ctr"
    return [str(program), f"--address={SOCKET}", "--namespace=k8s.io", *map(str, words)]


def write_network(node: Node) -> None:
    """Give the pods of a node a bridge and host ports."""
    ranges = [[{"subnet": node.pods}]]
    routes = [{"dst": "0.0.0.0/0"}]
    addresses = {"type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": routes}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True}
    plugins = [
        {**bridge, "hairpinMode": True, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
    node.run("tee", "/etc/cni/net.d/10-pods.conflist", stdin=json.dumps(network, indent=1))
