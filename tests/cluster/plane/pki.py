"""The keys, certificates and kubeconfigs of one cluster, made anew for each and valid for a month."""

from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import run
from tests.cluster.node.namespaces import Node

DAYS = "30"
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
SERVER = Node(1).address
SERVER_NAMES = (
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,"
    f"IP:127.0.0.1,IP:10.96.0.1,IP:{SERVER}"
)
USERS = {  # file: subject
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
}


def make(nodes: list[Node]) -> None:
    """Make the authority, a server certificate, and a certificate and kubeconfig for every user."""
    folder = places.pki("")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority = ["openssl", "req", "-x509", *EC, "-keyout", "ca.key", "-out", "ca.crt"]
    run([*authority, "-days", DAYS, "-subj", "/CN=flowd-cluster"], cwd=folder)
    key = [
        "openssl",
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
        "-out",
        "tokens.key",
    ]
    run(key, cwd=folder)
    run(["openssl", "pkey", "-in", "tokens.key", "-pubout", "-out", "tokens.pub"], cwd=folder)
    _certificate(folder, "apiserver", "/CN=kube-apiserver", SERVER_NAMES)
    for name, subject in USERS.items():
        _certificate(folder, name, subject)
        _kubeconfig(folder, name)
    for node in nodes:
        subject = f"/O=system:nodes/CN=system:node:{node.name}"
        _certificate(folder, node.name, subject, f"DNS:{node.name},IP:{node.address}")
        _kubeconfig(folder, node.name)


def _certificate(folder: Path, name: str, subject: str, names: str = "") -> None:
    """Make name.key and name.crt for clients and servers."""
    files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-CA", "ca.crt", "-CAkey", "ca.key"]
    usage = ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    usage += [
        "-addext",
        "keyUsage=digitalSignature",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]
    usage += ["-addext", f"subjectAltName={names}"] if names else []
    run(
        ["openssl", "req", "-x509", *EC, *files, "-days", DAYS, "-subj", subject, *usage],
        cwd=folder,
    )


def _kubeconfig(folder: Path, name: str) -> None:
    """Write name.conf with the paths of the keys in it."""
    text = f"""\
apiVersion: v1
kind: Config
clusters:
- name: flowd
  cluster: {{server: "https://{SERVER}:6443", certificate-authority: {folder}/ca.crt}}
users:
- name: {name}
  user: {{client-certificate: {folder}/{name}.crt, client-key: {folder}/{name}.key}}
contexts:
- name: flowd
  context: {{cluster: flowd, user: {name}}}
current-context: flowd
"""
    (folder / f"{name}.conf").write_text(text)
