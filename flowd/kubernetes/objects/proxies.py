"""Which Pods, Services and EndpointSlices are the data plane of a Gateway."""

from collections.abc import Mapping
from typing import NamedTuple

from flowd.kubernetes.objects.core import EndpointSlice, Labels, Object, Pod, Service
from flowd.kubernetes.objects.snapshot import Objects


class _Naming(NamedTuple):
    """Labels that tell the Gateway; only where `condition`, a label and its value, holds too."""

    name: str
    namespace: str = ""
    condition: tuple[str, str] | None = None


class Group(NamedTuple):
    """Gateways that share their proxies: all of a GatewayClass, or of one of a controller's.

    Attributes:
        by: `class` or `controller`.
        name: of the GatewayClass, or of the controller as GatewayClasses name it.
    """

    by: str
    name: str

    def __str__(self) -> str:
        return f"GatewayClass/{self.name}" if self.by == "class" else self.name


class _Shared(NamedTuple):
    """Proxies that serve every Gateway of a controller, by the labels of their Pods."""

    controller: str
    labels: Labels
    namespace: str = ""


_MERGED = "gateway.envoyproxy.io/owning-gatewayclass"
"""Set by Envoy Gateway where an EnvoyProxy says `mergeGateways`."""
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


def group_of(item: Object) -> Group | None:
    """The Gateways that all share a proxy, by the labels of its Pod, Service or EndpointSlice.

    Envoy Gateway's with `mergeGateways`, Cilium's Envoy on each node, and Contour's proxies where
    no provisioner made them.
    """
    labels = item.metadata.labels
    if merged := labels.get(_MERGED):
        return Group("class", merged)
    if isinstance(item, Pod):
        for shared in _SHARED:
            here = shared.namespace in ("", item.metadata.namespace)
            if here and shared.labels.items() <= labels.items():
                return Group("controller", shared.controller)
    return None


def proxy_name(item: Object) -> str:
    """Whose data plane an object is: `namespace/name` of a Gateway, else the group, or ""."""
    return gateway_of(item) or str(group_of(item) or "")


def groups(objects: Objects) -> Mapping[Group, tuple[str, ...]]:
    """`namespace/name` of the Gateways of each class and of each controller, in order."""
    found: dict[Group, list[str]] = {}
    for (namespace, name), gateway in sorted(objects.gateways.items()):
        class_name = gateway.spec.gateway_class_name
        found.setdefault(Group("class", class_name), []).append(f"{namespace}/{name}")
        if held := objects.gateway_classes.get(("", class_name)):
            group = Group("controller", held.spec.controller_name)
            found.setdefault(group, []).append(f"{namespace}/{name}")
    return {group: tuple(names) for group, names in found.items()}


def linked_services(objects: Objects) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Gateways (`namespace/name`) by the Service that they say is their data plane.

    Istio's manual deployment: a Hostname in `spec.addresses` that is the name of a Service, in the
    Gateway's namespace where it has no dot, and that several Gateways may give.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for (namespace, name), gateway in sorted(objects.gateways.items()):
        for address in gateway.spec.addresses:
            parts = address.value.split(".")
            if address.type != "Hostname" or (len(parts) > 1 and parts[2:3] != ["svc"]):
                continue
            where = parts[1] if len(parts) > 1 else namespace
            found.setdefault((where, parts[0]), []).append(f"{namespace}/{name}")
    return {service: tuple(dict.fromkeys(names)) for service, names in found.items()}


def _service(item: Object) -> str:
    """Name of the Service that it is or belongs to, or ""."""
    if isinstance(item, Service):
        return item.metadata.name
    return item.service if isinstance(item, EndpointSlice) else ""
