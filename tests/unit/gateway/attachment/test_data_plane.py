"""Data plane objects: owner by labels and names of each implementation."""

import pytest

from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.proxies import gateway_of, proxy_group_of, proxy_name
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack

CONTOUR = {
    "app.kubernetes.io/name": "contour",
    "app.kubernetes.io/managed-by": "contour-gateway-provisioner",
    "gateway.networking.k8s.io/gateway-name": "edge",
    "projectcontour.io/owning-gateway-name": "edge",
}
PODS = {
    "eg": {
        "gateway.envoyproxy.io/owning-gateway-name": "edge",
        "gateway.envoyproxy.io/owning-gateway-namespace": "infra",
    },
    "istio": {
        "gateway.istio.io/managed": "istio.io-gateway-controller",
        "gateway.networking.k8s.io/gateway-name": "edge",
    },
    "istio-1.17": {"istio.io/gateway-name": "edge"},
    "kgateway": {
        "kgateway": "kube-gateway",
        "app.kubernetes.io/instance": "edge",
        "gateway.networking.k8s.io/gateway-name": "edge",
    },
    "kgateway without": {"kgateway": "kube-gateway", "app.kubernetes.io/instance": "edge"},
    "contour": {**CONTOUR, "app": "envoy-edge"},
    "contour-1.28": {"projectcontour.io/owning-gateway-name": "edge", "app": "envoy-edge"},
    "cilium": {"io.cilium.gateway/owning-gateway": "edge"},
}
OTHERS = {
    "contour's control plane": {**CONTOUR, "app": "contour-edge"},
    "kgateway's control plane": {"kgateway": "kgateway", "app.kubernetes.io/instance": "edge"},
    "any chart": {"app.kubernetes.io/instance": "edge"},
    "nothing": {},
}


def meta(name: str, labels: dict[str, str], namespace: str = "infra") -> core.ObjectMeta:
    return core.ObjectMeta(name=name, namespace=namespace, labels=labels)


@pytest.mark.parametrize("labels", PODS.values(), ids=PODS)
def test_a_proxy_is_known_by_its_labels(labels: dict[str, str]) -> None:
    namespace = "envoy-gateway-system" if "gateway.envoyproxy.io" in str(labels) else "infra"
    assert gateway_of(core.Pod(metadata=meta("p", labels, namespace))) == "infra/edge"


@pytest.mark.parametrize("labels", OTHERS.values(), ids=OTHERS)
def test_others_are_no_proxies(labels: dict[str, str]) -> None:
    pod = core.Pod(metadata=meta("cilium-gateway-edge", labels))
    assert proxy_group_of(pod) is None
    assert proxy_name(pod) == ""


def test_ciliums_service_and_its_slices_are_known_by_their_name() -> None:
    name = "cilium-gateway-edge"
    assert gateway_of(core.Service(metadata=meta(name, {}))) == "infra/edge"
    labels = {"kubernetes.io/service-name": name}
    assert gateway_of(core.EndpointSlice(metadata=meta("x-1", labels))) == "infra/edge"
    for other in ("cilium-gateway-", "cilium-gateway", "web"):
        assert gateway_of(core.Service(metadata=meta(other, {}))) == ""


def test_contours_own_service_is_not_the_gateways() -> None:
    assert gateway_of(core.Service(metadata=meta("envoy-edge", CONTOUR))) == "infra/edge"
    assert gateway_of(core.Service(metadata=meta("contour-edge", CONTOUR))) == ""


SHARED = {
    "cilium": ("kube-system", {"k8s-app": "cilium-envoy"}, "io.cilium/gateway-controller"),
    "contour": ("projectcontour", {"app": "envoy"}, "projectcontour.io/gateway-controller"),
    "contour's chart": (
        "web",
        {"app.kubernetes.io/name": "contour", "app.kubernetes.io/component": "envoy"},
        "projectcontour.io/gateway-controller",
    ),
}


@pytest.mark.parametrize(("namespace", "labels", "controller"), SHARED.values(), ids=SHARED)
def test_a_proxy_of_all_gateways_is_that_of_the_only_one(
    namespace: str, labels: dict[str, str], controller: str
) -> None:
    objects = Objects()
    objects.add(
        core.Pod(
            metadata=meta("envoy-x", labels, namespace),
            spec=core.PodSpec(host_network=True),
            status=core.PodStatus(pod_ip="192.0.2.1"),
        )
    )
    spec = gw.GatewayClassSpec(controller_name=controller)
    objects.add(gw.GatewayClass(metadata=core.ObjectMeta(name="mine"), spec=spec))
    listeners = (gw.Listener(name="http", port=80, protocol="HTTP"),)
    edge = gw.GatewaySpec(gateway_class_name="mine", listeners=listeners)
    objects.add(gw.Gateway(metadata=meta("edge", {}), spec=edge))
    objects.add(gw.Gateway(metadata=meta("other", {}), spec=gw.GatewaySpec()))
    table = RouteTable.build(objects)
    assert table.gateways_at(pack("192.0.2.1")) == ("infra/edge",)
    assert table.gateways_at(pack("192.0.2.2")) == ()
    more = Objects(pods=objects.pods, gateway_classes=objects.gateway_classes)
    more.gateways = {**objects.gateways}
    more.add(gw.Gateway(metadata=meta("second", {}), spec=edge))
    both = RouteTable.build(more, before=table).gateways_at(pack("192.0.2.1"))
    assert both == ("infra/edge", "infra/second")
