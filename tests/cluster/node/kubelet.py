"""The kubelet and kube-proxy of a node."""

from tests.cluster import places
from tests.cluster.node.launch import Daemon, start
from tests.cluster.node.namespaces import Node
from tests.cluster.node.runtime import SOCKET
from tests.cluster.parts.part import Part
from tests.cluster.plane.control import PODS

DNS = "10.96.0.10"


def kubelet_settings(node: Node) -> str:
    """The kubelet's configuration: also a machine with cgroups of the old kind is taken."""
    pki = places.pki
    return f"""\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://{SOCKET}
authentication:
  anonymous: {{enabled: false}}
  x509: {{clientCAFile: {pki("ca.crt")}}}
  webhook: {{enabled: true}}
authorization: {{mode: Webhook}}
tlsCertFile: {pki(f"{node.name}.crt")}
tlsPrivateKeyFile: {pki(f"{node.name}.key")}
clusterDomain: cluster.local
clusterDNS: [{DNS}]
resolvConf: ""
staticPodPath: /etc/kubernetes/manifests
evictionHard: {{memory.available: 100Mi}}
imageGCHighThresholdPercent: 100
registerNode: true
nodeStatusUpdateFrequency: 5s
serializeImagePulls: false
shutdownGracePeriod: 0s
"""


def start_kubelet(node: Node, kubernetes: Part) -> Daemon:
    """Start the kubelet; it registers its node."""
    node.run("mkdir", "-p", "/etc/kubernetes/manifests")
    settings = places.state() / f"{node.name}-kubelet.yaml"
    settings.write_text(kubelet_settings(node))
    words = [f"--config={settings}", f"--kubeconfig={places.pki(f'{node.name}.conf')}"]
    words += [f"--hostname-override={node.name}", f"--node-ip={node.address}"]
    return start(node, f"{node.name}-kubelet", kubernetes.path("kubelet"), *words)


def proxy_settings(node: Node) -> str:
    """kube-proxy's configuration: nftables, and no setting of the whole machine's conntrack."""
    return f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {PODS}
hostnameOverride: {node.name}
clientConnection: {{kubeconfig: {places.pki("proxy.conf")}}}
conntrack: {{maxPerCore: 0, min: 0}}
"""


def start_proxy(node: Node, kubernetes: Part) -> Daemon:
    """Start kube-proxy."""
    settings = places.state() / f"{node.name}-kube-proxy.yaml"
    settings.write_text(proxy_settings(node))
    program = kubernetes.path("kube-proxy")
    return start(node, f"{node.name}-kube-proxy", program, f"--config={settings}")
