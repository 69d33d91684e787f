"""Build Ingresses and HTTPRoutes from short forms, and compare one request over both."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flowd.kubernetes.objects.gateway_api import Gateway, GatewayClass, HTTPRoute
from flowd.kubernetes.objects.ingress import Ingress
from flowd.kubernetes.objects.snapshot import Objects
from flowd.parity.compare.comparison import Comparison
from flowd.parity.compare.differences import ParityVerdict
from flowd.parity.compare.sides import NginxSide, gateway_sides
from flowd.parity.nginx.annotations import PREFIX, ControllerSettings
from flowd.parity.outcome import ParityRequest, Seen

HOST = "store.test"
Path = tuple[str, str, str]
"""Path, path type (`Prefix`, `Exact`, `ImplementationSpecific`) and Service."""


def ingress(
    name: str,
    *paths: Path,
    host: str = HOST,
    age: int = 1,
    namespace: str = "shop",
    tls: Sequence[str] = (),
    default: str = "",
    annotations: Mapping[str, str] | None = None,
    **more: str,
) -> Ingress:
    """An Ingress of the class nginx; annotations without prefix, with `_` for `-`, also as keywords.

    Args:
        age: rank of the creation time; 1 is the oldest.
    """
    spec: dict[str, Any] = {"ingressClassName": "nginx"}
    if paths:
        entries = [
            {"path": path, "pathType": kind, "backend": backend(service)}
            for path, kind, service in paths
        ]
        rule: dict[str, Any] = {"http": {"paths": entries}}
        spec["rules"] = [rule | ({"host": host} if host else {})]
    if tls:
        spec["tls"] = [{"hosts": list(tls), "secretName": "cert"}]
    if default:
        spec["defaultBackend"] = backend(default)
    metadata = {
        "name": name,
        "namespace": namespace,
        "creationTimestamp": f"2026-01-{age:02}T00:00:00Z",
        "annotations": {
            PREFIX + key.replace("_", "-"): value
            for key, value in (dict(annotations or {}) | more).items()
        },
    }
    return msgspec.convert({"metadata": metadata, "spec": spec}, Ingress)


def backend(service: str) -> dict[str, Any]:
    """An Ingress backend on port 80, or on another one by `service:port`."""
    name, _, port = service.partition(":")
    return {"service": {"name": name, "port": {"number": int(port or 80)}}}


def rule(
    path: str = "/",
    *services: str,
    kind: str = "PathPrefix",
    filters: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """An HTTPRoute rule; services as `name` or `name=weight`."""
    match: dict[str, Any] = {"path": {"type": kind, "value": path}}
    if headers:
        match["headers"] = [{"name": name, "value": value} for name, value in headers.items()]
    refs = [
        {"name": name, "port": 80, "weight": int(weight or 1)}
        for name, _, weight in (service.partition("=") for service in services)
    ]
    return {"matches": [match], "backendRefs": refs, "filters": list(filters)}


def redirect(code: int = 308, **change: str) -> dict[str, Any]:
    """A RequestRedirect filter: `scheme`, `hostname`, `path` (replaced as a whole)."""
    made: dict[str, Any] = {"statusCode": code}
    if path := change.pop("path", ""):
        made["path"] = {"type": "ReplaceFullPath", "replaceFullPath": path}
    return {"type": "RequestRedirect", "requestRedirect": made | change}


def rewrite(path: str, kind: str = "ReplaceFullPath") -> dict[str, Any]:
    """A URLRewrite filter of the path."""
    key = kind[0].lower() + kind[1:]
    return {"type": "URLRewrite", "urlRewrite": {"path": {"type": kind, key: path}}}


def gateway(
    *rules: dict[str, Any],
    hosts: Sequence[str] = (HOST,),
    listeners: Sequence[str] = (HOST,),
    tls: bool = False,
    controller: str = "gateway.envoyproxy.io/gatewayclass-controller",
) -> Objects:
    """A Gateway with an http listener for each host (and https with `tls`), and one HTTPRoute."""
    objects = Objects()
    ports = ((80, "HTTP", "http"), (443, "HTTPS", "https")) if tls else ((80, "HTTP", "http"),)
    made = [
        {"name": f"{name}-{number}", "port": port, "protocol": protocol}
        | ({"hostname": host} if host else {})
        | ({"tls": {"certificateRefs": [{"name": "cert"}]}} if port == 443 else {})
        for number, host in enumerate(listeners)
        for port, protocol, name in ports
    ]
    spec = {"gatewayClassName": "gw", "listeners": made}
    objects.add(msgspec.convert({"metadata": _meta("edge"), "spec": spec}, Gateway))
    klass = {"metadata": {"name": "gw"}, "spec": {"controllerName": controller}}
    objects.add(msgspec.convert(klass, GatewayClass))
    add_route(objects, "store", *rules, hosts=hosts)
    return objects


def add_route(
    objects: Objects,
    name: str,
    *rules: dict[str, Any],
    hosts: Sequence[str] = (HOST,),
    section: str = "",
) -> None:
    """Add an HTTPRoute; `section` names the listener that it attaches to."""
    parent = {"name": "edge"} | ({"sectionName": section} if section else {})
    spec = {"hostnames": list(hosts), "parentRefs": [parent], "rules": list(rules)}
    objects.add(msgspec.convert({"metadata": _meta(name), "spec": spec}, HTTPRoute))


def _meta(name: str) -> dict[str, str]:
    return {"name": name, "namespace": "shop"}


def before(*ingresses: Ingress) -> Objects:
    """A snapshot of Ingresses."""
    objects = Objects()
    for each in ingresses:
        objects.add(each)
    return objects


def compared(
    old: Objects,
    new: Objects,
    path: str = "/",
    *,
    host: str | None = HOST,
    method: str = "GET",
    scheme: str = "http",
    body: int = 0,
    headers: Mapping[str, str] | None = None,
    seen: Seen | None = None,
    configmap: Mapping[str, str] | None = None,
    dialect: str = "auto",
    down: Sequence[str] = (),
) -> ParityVerdict:
    """The verdict on one request.

    Args:
        down: Services without endpoints.
    """

    def ready(name: str) -> bool | None:
        return False if name.partition("/")[2].partition(":")[0] in down else None

    side = NginxSide(old, ControllerSettings.from_configmap(configmap or {}), ready)
    request = ParityRequest(
        host=host,
        method=method,
        path=path,
        scheme=scheme,
        body_bytes=body,
        headers=dict(headers or {}),
        seen=seen,
    )
    return Comparison(side, gateway_sides(new, dialect, ready)).compare(request)
