"""Data plane objects: Gateways of proxy Pods, Services and EndpointSlices, by their labels."""

from collections.abc import Mapping
from typing import NamedTuple

from flowd.kubernetes.objects.core import EndpointSlice, Labels, Object, Pod, Service
from flowd.kubernetes.objects.snapshot import Objects


class _GatewayLabels(NamedTuple):
    """Label keys of the Gateway name and namespace; `condition` is a required (label, value)."""

    name: str
    namespace: str = ""
    condition: tuple[str, str] | None = None


class ProxyGroup(NamedTuple):
    """Gateways that share proxies: all of one GatewayClass or of one controller.

    Attributes:
        by: `class` or `controller`.
        name: name of the GatewayClass, or controllerName of its GatewayClasses.
    """

    by: str
    name: str

    def __str__(self) -> str:
        return f"GatewayClass/{self.name}" if self.by == "class" else self.name


class _SharedProxies(NamedTuple):
    """Pod labels of proxies that serve every Gateway of a controller."""

    controller: str
    labels: Labels
    namespace: str = ""


_MERGED = "gateway.envoyproxy.io/owning-gatewayclass"
"""Label that Envoy Gateway sets when an EnvoyProxy has `mergeGateways`."""
_GATEWAY_LABELS = (
    _GatewayLabels(  # Envoy Gateway, whose proxies may be in another namespace than the Gateway
        "gateway.envoyproxy.io/owning-gateway-name",
        "gateway.envoyproxy.io/owning-gateway-namespace",
    ),
    _GatewayLabels("gateway.networking.k8s.io/gateway-name"),  # GEP-1762
    _GatewayLabels("istio.io/gateway-name"),
    _GatewayLabels("projectcontour.io/owning-gateway-name"),
    _GatewayLabels("io.cilium.gateway/owning-gateway"),
    _GatewayLabels("app.kubernetes.io/instance", condition=("kgateway", "kube-gateway")),
)
_CILIUM_SERVICE = "cilium-gateway-"
_CONTOUR = "projectcontour.io/gateway-controller"
_SHARED = (
    _SharedProxies("io.cilium/gateway-controller", {"k8s-app": "cilium-envoy"}),
    _SharedProxies(_CONTOUR, {"app": "envoy"}, "projectcontour"),
    _SharedProxies(
        _CONTOUR, {"app.kubernetes.io/name": "contour", "app.kubernetes.io/component": "envoy"}
    ),
)


def gateway_of(item: Object) -> str:
    """`namespace/name` of the Gateway that a data plane object belongs to, or "".

    Decided by the labels of Envoy Gateway, Istio, Cilium, Contour and kgateway; for a Cilium
    Service and its slices also by the name of the Service. Contour's controller Pods and Service
    carry the labels of its proxies but do not belong to the data plane.
    """
    labels, own = item.metadata.labels, item.metadata.namespace
    service = _service(item)
    for labels_of in _GATEWAY_LABELS:
        name = labels.get(labels_of.name)
        if not name or (labels_of.condition and labels_of.condition not in labels.items()):
            continue
        if f"contour-{name}" in (service, labels.get("app")):
            return ""
        return f"{labels.get(labels_of.namespace, '') if labels_of.namespace else own}/{name}"
    name = service.removeprefix(_CILIUM_SERVICE)
    return f"{own}/{name}" if name not in ("", service) else ""


def proxy_group_of(item: Object) -> ProxyGroup | None:
    """Group of Gateways that share a proxy, by the labels of its Pod, Service or EndpointSlice.

    Known cases: Envoy Gateway with `mergeGateways`, Cilium's Envoy on each node, and Contour's
    proxies without the Gateway provisioner.
    """
    labels = item.metadata.labels
    if merged := labels.get(_MERGED):
        return ProxyGroup("class", merged)
    if isinstance(item, Pod):
        for shared in _SHARED:
            in_namespace = shared.namespace in ("", item.metadata.namespace)
            if in_namespace and shared.labels.items() <= labels.items():
                return ProxyGroup("controller", shared.controller)
    return None


def proxy_name(item: Object) -> str:
    """Owner of a data plane object: `namespace/name` of a Gateway, else the group, or ""."""
    return gateway_of(item) or str(proxy_group_of(item) or "")


def proxy_groups(objects: Objects) -> Mapping[ProxyGroup, tuple[str, ...]]:
    """`namespace/name` of the Gateways of each class and each controller, sorted."""
    found: dict[ProxyGroup, list[str]] = {}
    for (namespace, name), gateway in sorted(objects.gateways.items()):
        class_name = gateway.spec.gateway_class_name
        found.setdefault(ProxyGroup("class", class_name), []).append(f"{namespace}/{name}")
        if gateway_class := objects.gateway_classes.get(("", class_name)):
            group = ProxyGroup("controller", gateway_class.spec.controller_name)
            found.setdefault(group, []).append(f"{namespace}/{name}")
    return {group: tuple(names) for group, names in found.items()}


def linked_services(objects: Objects) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Gateways (`namespace/name`) by the Service that they declare as their data plane.

    Istio's manual deployment: a Hostname in `spec.addresses` names a Service. A name without a dot
    belongs to the Gateway's namespace. Several Gateways may name the same Service.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for (namespace, name), gateway in sorted(objects.gateways.items()):
        for address in gateway.spec.addresses:
            parts = address.value.split(".")
            if address.type != "Hostname" or (len(parts) > 1 and parts[2:3] != ["svc"]):
                continue
            service_namespace = parts[1] if len(parts) > 1 else namespace
            found.setdefault((service_namespace, parts[0]), []).append(f"{namespace}/{name}")
    return {service: tuple(dict.fromkeys(names)) for service, names in found.items()}


def _service(item: Object) -> str:
    """Name of a Service, or of the Service of an EndpointSlice, else ""."""
    if isinstance(item, Service):
        return item.metadata.name
    return item.service if isinstance(item, EndpointSlice) else ""
