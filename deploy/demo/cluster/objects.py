"""Kubernetes objects of the demo: static manifests, and generated objects with addresses."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from demo.cluster.topology import (
    CONTROLLER_NAMESPACE,
    GATEWAY_NAME,
    GATEWAY_NAMESPACE,
    PODS,
    DemoPod,
    Topology,
    envoy_name,
)

Object: TypeAlias = dict[str, Any]
MANIFESTS = Path(__file__).parents[1] / "manifests"
GATEWAY_LABELS = {
    "app.kubernetes.io/component": "proxy",
    "app.kubernetes.io/managed-by": "envoy-gateway",
    "app.kubernetes.io/name": "envoy",
    "gateway.envoyproxy.io/owning-gateway-name": GATEWAY_NAME,
    "gateway.envoyproxy.io/owning-gateway-namespace": GATEWAY_NAMESPACE,
}


def static_objects() -> list[Object]:
    """Objects of `manifests/*.yaml`, in the order of files and documents."""
    return [
        document
        for path in sorted(MANIFESTS.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
        if document
    ]


def of_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    return [each for each in objects if each["kind"] == kind]


def container_port(port: int) -> int:
    """Port on which Envoy Gateway's proxy serves a listener: privileged ports plus 10000."""
    return port + 10000 if port < 1024 else port


def write(topology: Topology, folder: Path) -> None:
    """Write all manifests of this demo into `folder`."""
    folder.mkdir(exist_ok=True)
    for path in MANIFESTS.glob("*.yaml"):
        shutil.copyfile(path, folder / path.name)
    with (folder / "generated.yaml").open("w") as stream:
        stream.write("# Made by the demo; the addresses are those of this run.\n")
        yaml.safe_dump_all(generated(topology, static_objects()), stream, sort_keys=False)


def generated(topology: Topology, objects: list[Object]) -> list[Object]:
    """Generate Node, Pods, the proxy's Service, and an EndpointSlice for every Service."""
    services = [_gateway_service(objects), *of_kind(objects, "Service")]
    slices = [endpoint_slice(topology, service) for service in services]
    return [_node(topology), *(_pod(topology, pod) for pod in PODS), services[0], *slices]


def labels(pod: DemoPod) -> dict[str, str]:
    """Labels of a pod, as its controller sets them."""
    own = {"app": pod.app} if pod.role != "gateway" else dict(GATEWAY_LABELS)
    if pod.template_hash:
        own["pod-template-hash"] = pod.template_hash
    return own


def pods_of(service: Object) -> list[DemoPod]:
    """Pods that a Service selects."""
    wanted = service["spec"]["selector"].items()
    namespace = service["metadata"]["namespace"]
    return [pod for pod in PODS if pod.namespace == namespace and wanted <= labels(pod).items()]


def endpoints(topology: Topology, service: Object) -> list[tuple[str, DemoPod]]:
    """(address, pod) of each endpoint of a Service; IPv6 for the pods that use it."""
    return [
        (topology.addresses(pod)[1] if topology.uses_ipv6(pod) else topology.address(pod), pod)
        for pod in pods_of(service)
    ]


def endpoint_slice(topology: Topology, service: Object) -> Object:
    """The EndpointSlice of a Service, all endpoints ready."""
    meta = service["metadata"]
    found = endpoints(topology, service)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-x7k2p",
            "namespace": meta["namespace"],
            "labels": {"kubernetes.io/service-name": meta["name"]},
        },
        "addressType": "IPv6" if any(":" in address for address, _ in found) else "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "nodeName": topology.node,
                "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
            }
            for address, pod in found
        ],
        "ports": [
            {"name": port["name"], "port": port["targetPort"], "protocol": port["protocol"]}
            for port in service["spec"]["ports"]
        ],
    }


def _node(topology: Topology) -> Object:
    addresses = [{"type": "InternalIP", "address": topology.host_address}]
    if not topology.loopback:
        addresses.append({"type": "InternalIP", "address": topology.host_address6})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": topology.node, "labels": {"kubernetes.io/hostname": topology.node}},
        "status": {"addresses": [*addresses, {"type": "Hostname", "address": topology.node}]},
    }


def _pod(topology: Topology, pod: DemoPod) -> Object:
    meta: Object = {"name": pod.name, "namespace": pod.namespace, "labels": labels(pod)}
    if pod.owner:
        meta["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": pod.owner_kind, "name": pod.owner, "controller": True}
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": topology.node, "containers": [{"name": pod.app, "image": pod.app}]},
        "status": {
            "phase": "Running",
            "podIP": topology.address(pod),
            "podIPs": [{"ip": address} for address in topology.addresses(pod)],
        },
    }


def _gateway_service(objects: list[Object]) -> Object:
    listeners = of_kind(objects, "Gateway")[0]["spec"]["listeners"]
    ports = [
        {
            "name": f"{listener['protocol'].lower()}-{listener['port']}",
            "port": listener["port"],
            "targetPort": container_port(listener["port"]),
            "protocol": "TCP",
        }
        for listener in listeners
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": envoy_name(),
            "namespace": CONTROLLER_NAMESPACE,
            "labels": dict(GATEWAY_LABELS),
        },
        "spec": {"clusterIP": "None", "selector": dict(GATEWAY_LABELS), "ports": ports},
    }
