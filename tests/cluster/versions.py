"""The pinned version of every part of the cluster."""

KUBERNETES = "v1.37.2"
ETCD = "v3.7.3"
COREDNS = "v1.14.7"
ENVOY_GATEWAY = "v1.9.1"
CILIUM = "v1.20.2"  # hubble and hubble-relay
COLLECTOR = "v0.165.0"
COLLECTOR_CONTRIB = "v0.165.1"
GATEWAY_API = {"1.6.1": "v1.6.1", "1.7.0": "v1.7.0"}
KUBECTL = "1.37.1"  # of PyPI
HELM_SDK = "0.2.2"  # of PyPI: Helm 4 as a library
PAUSE = "3.10.1"
DEBIAN = "bookworm"
GO = "1.26.4"  # of PyPI, where the machine has none or an older one
STORE = "1"  # counts up when the layout of the kept image store changes
