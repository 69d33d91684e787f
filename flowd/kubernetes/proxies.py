"""Which Pods, Services and EndpointSlices are the data plane of a Gateway."""

from collections.abc import Mapping
from typing import NamedTuple

from flowd.kubernetes.core import EndpointSlice, Labels, Object, Pod, Service
from flowd.kubernetes.objects import Objects


class _Naming(NamedTuple):
    """Labels that tell the Gateway; only where `condition`, a label and its value, holds too."""

    name: str
    namespace: str = ""
    condition: tuple[str, str] | None = None


class _Shared(NamedTuple):
    """Proxies that serve every Gateway of a controller, by the labels of their Pods."""

    controller: str
    labels: Labels
    namespace: str = ""


_NAMINGS = (
    _Naming(  # Envoy Gateway, whose proxies may be in another namespace than the Gateway
        "gateway.envoyproxy.io/owning-gateway-name",
        "gateway.envoyproxy.io/owning-gateway-namespace",
    ),
    _Naming("gateway.networking.k8s.io/gateway-name"),  # GEP-1762
    _Naming("istio.io/gateway-name"),
    _Naming("projectcontour.io/owning-gateway-name"),
    _Naming("io.cilium.gateway/owning-gateway"),
    _Naming("app.kubernetes.io/instance", condition=("kgateway", "kube-gateway")),
)
_CILIUM_SERVICE = "cilium-gateway-"
_CONTOUR = "projectcontour.io/gateway-controller"
_SHARED = (
    _Shared("io.cilium/gateway-controller", {"k8s-app": "cilium-envoy"}),
    _Shared(_CONTOUR, {"app": "envoy"}, "projectcontour"),
    _Shared(
        _CONTOUR, {"app.kubernetes.io/name": "contour", "app.kubernetes.io/component": "envoy"}
    ),
)


def gateway_of(item: Object) -> str:
    """`namespace/name` of the Gateway whose data plane a Pod, Service or EndpointSlice is, or "".

    By the labels that Envoy Gateway, Istio, Cilium, Contour and kgateway set; for a Service of
    Cilium's and its slices also by the Service's name. Contour's own Pods and Service carry the
    labels of its proxies and are none.
    """
    labels, own = item.metadata.labels, item.metadata.namespace
    service = _service(item)
    for naming in _NAMINGS:
        name = labels.get(naming.name)
        if not name or (naming.condition and naming.condition not in labels.items()):
            continue
        if f"contour-{name}" in (service, labels.get("app")):
            return ""
        return f"{labels.get(naming.namespace, '') if naming.namespace else own}/{name}"
    name = service.removeprefix(_CILIUM_SERVICE)
    return f"{own}/{name}" if name not in ("", service) else ""


def controller_of_proxy(pod: Pod) -> str:
    """The controller all of whose Gateways a Pod serves, as a GatewayClass names it, or "".

    Cilium's Envoy on each node, and Contour's proxies where no provisioner made them.
    """
    labels = pod.metadata.labels.items()
    for shared in _SHARED:
        if shared.namespace in ("", pod.metadata.namespace) and shared.labels.items() <= labels:
            return shared.controller
    return ""


def only_gateways(objects: Objects) -> Mapping[str, str]:
    """`namespace/name` of the Gateway of each controller that has exactly one."""
    found: dict[str, list[str]] = {}
    for (namespace, name), gateway in objects.gateways.items():
        held = objects.gateway_classes.get(("", gateway.spec.gateway_class_name))
        if held:
            found.setdefault(held.spec.controller_name, []).append(f"{namespace}/{name}")
    return {controller: names[0] for controller, names in found.items() if len(names) == 1}


def _service(item: Object) -> str:
    """Name of the Service that it is or belongs to, or ""."""
    if isinstance(item, Service):
        return item.metadata.name
    return item.service if isinstance(item, EndpointSlice) else ""
