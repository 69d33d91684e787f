"""Start etcd, the API server, the controllers and the scheduler on the first node."""

from pathlib import Path

from tests.cluster import places
from tests.cluster.node.launch import Daemon, start
from tests.cluster.node.namespaces import Node
from tests.cluster.parts.part import Part
from tests.cluster.plane.pki import SERVER

ETCD = "http://127.0.0.1:2379"
SERVICES = "10.96.0.0/16"
PODS = "10.244.0.0/16"
AUDIT = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""


def options(**values: str | Path) -> list[str]:
    """Command-line options: `audit_log_path=x` is --audit-log-path=x."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def begin(node: Node, etcd: Part, kubernetes: Part) -> Daemon:
    """Start the store and the API server, which is what this returns."""
    start_etcd(node, etcd)
    return start_server(node, kubernetes)


def complete(server: Daemon, node: Node, kubernetes: Part, kubectl: Part) -> None:
    """Wait until the API server is ready, and start what cannot start without it."""
    ready = [str(kubectl.path("kubectl")), f"--kubeconfig={places.kubeconfig()}"]
    server.await_ready(
        120, [*ready, f"--cache-dir={places.state() / 'kubectl'}", "get", "--raw=/readyz"], node
    )
    start_controllers(node, kubernetes)
    start_scheduler(node, kubernetes)


def start_etcd(node: Node, etcd: Part) -> Daemon:
    """Start the store; its data are in memory and go with the node."""
    peer = "http://127.0.0.1:2380"
    settings = options(
        name="flowd", data_dir="/run/etcd", listen_client_urls=ETCD, advertise_client_urls=ETCD,
        listen_peer_urls=peer, initial_advertise_peer_urls=peer, initial_cluster=f"flowd={peer}",
        log_level="warn",
    )  # fmt: skip
    return start(node, "etcd", etcd.path("etcd"), *settings)


def start_server(node: Node, kubernetes: Part) -> Daemon:
    """Start the API server with RBAC, node restriction and an audit log."""
    pki = places.pki
    policy = places.state() / "audit.yaml"
    policy.write_text(AUDIT)
    settings = options(
        etcd_servers=ETCD, service_cluster_ip_range=SERVICES, advertise_address=SERVER,
        authorization_mode="Node,RBAC", enable_admission_plugins="NodeRestriction",
        client_ca_file=pki("ca.crt"), tls_cert_file=pki("apiserver.crt"),
        tls_private_key_file=pki("apiserver.key"), allow_privileged="true",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        service_account_signing_key_file=pki("tokens.key"), service_account_key_file=pki("tokens.pub"),
        kubelet_client_certificate=pki("admin.crt"), kubelet_client_key=pki("admin.key"),
        kubelet_certificate_authority=pki("ca.crt"), kubelet_preferred_address_types="InternalIP",
        audit_policy_file=policy, audit_log_path=places.log("audit"), audit_log_maxsize="100",
    )  # fmt: skip
    return start(node, "kube-apiserver", kubernetes.path("kube-apiserver"), *settings)


def start_controllers(node: Node, kubernetes: Part) -> Daemon:
    """Start the controllers; the nodes' pod networks are given to them, not allocated."""
    pki = places.pki
    config = pki("controller-manager.conf")
    settings = options(
        kubeconfig=config, authentication_kubeconfig=config, authorization_kubeconfig=config,
        service_account_private_key_file=pki("tokens.key"), root_ca_file=pki("ca.crt"),
        cluster_signing_cert_file=pki("ca.crt"), cluster_signing_key_file=pki("ca.key"),
        use_service_account_credentials="true", allocate_node_cidrs="false", cluster_cidr=PODS,
        leader_elect="false",
    )  # fmt: skip
    program = kubernetes.path("kube-controller-manager")
    return start(node, "kube-controller-manager", program, *settings)


def start_scheduler(node: Node, kubernetes: Part) -> Daemon:
    """Start the scheduler."""
    config = places.pki("scheduler.conf")
    settings = options(
        kubeconfig=config, authentication_kubeconfig=config, authorization_kubeconfig=config,
        leader_elect="false",
    )  # fmt: skip
    return start(node, "kube-scheduler", kubernetes.path("kube-scheduler"), *settings)
