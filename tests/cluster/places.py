"""Where the cluster keeps its files: what is built stays in a cache, what runs is in one folder."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the checkout
MANIFESTS = Path(__file__).resolve().parent / "manifests"


def cache() -> Path:
    """The folder of finished parts, each below `<part>-<version>`: outside of any checkout."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flowd-cluster"


def state() -> Path:
    """The folder of the one cluster that runs: keys, settings, logs; it goes with the cluster."""
    return Path(os.environ.get("FLOWD_CLUSTER_DIR") or "/var/tmp/flowd-cluster")


def log(name: str) -> Path:
    """The log of a process of the cluster."""
    return state() / "log" / f"{name}.log"


def pki(name: str) -> Path:
    """A key, certificate or kubeconfig."""
    return state() / "pki" / name


def kubeconfig() -> Path:
    """The administrator's kubeconfig; its server's address is inside the cluster's network."""
    return pki("admin.conf")
