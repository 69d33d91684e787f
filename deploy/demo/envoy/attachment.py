"""Attach routes to listeners (Gateway API: parentRefs, allowedRoutes, hostnames)."""

from demo.cluster.objects import Object, of_kind

PROTOCOLS = {"HTTPRoute": ("HTTP", "HTTPS"), "TLSRoute": ("TLS",)}


def attached(kind: str, objects: list[Object], gateway: Object, listener: Object) -> list[Object]:
    """Routes of a kind that attach to a listener, by creation time, namespace and name."""
    routes = [
        route
        for route in of_kind(objects, kind)
        if listener["protocol"] in PROTOCOLS[kind]
        and any(_refers(ref, route, gateway, listener) for ref in route["spec"]["parentRefs"])
        and _allowed(route, objects, gateway, listener)
        and hostnames(route, listener)
    ]
    return sorted(routes, key=lambda route: _key(route["metadata"]))


def hostnames(route: Object, listener: Object) -> list[str]:
    """Intersection of the hostnames of route and listener; "*" for any."""
    wanted: str = listener.get("hostname", "*")
    found = [_more_specific(host, wanted) for host in route["spec"].get("hostnames", ["*"])]
    return [host for host in found if host]


def _key(meta: Object) -> tuple[str, str, str]:
    return meta.get("creationTimestamp", ""), meta["namespace"], meta["name"]


def _refers(ref: Object, route: Object, gateway: Object, listener: Object) -> bool:
    namespace = ref.get("namespace", route["metadata"]["namespace"])
    meta = gateway["metadata"]
    return (
        ref.get("kind", "Gateway") == "Gateway"
        and (namespace, ref["name"]) == (meta["namespace"], meta["name"])
        and ref.get("sectionName", listener["name"]) == listener["name"]
        and ref.get("port", listener["port"]) == listener["port"]
    )


def _allowed(route: Object, objects: list[Object], gateway: Object, listener: Object) -> bool:
    rule = listener.get("allowedRoutes", {}).get("namespaces", {})
    namespace = route["metadata"]["namespace"]
    match rule.get("from", "Same"):
        case "All":
            return True
        case "Selector":
            wanted = rule["selector"]["matchLabels"].items()
            found = [n["metadata"] for n in of_kind(objects, "Namespace")]
            return any(n["name"] == namespace and wanted <= n["labels"].items() for n in found)
        case _:
            return bool(namespace == gateway["metadata"]["namespace"])


def _more_specific(host: str, other: str) -> str:
    """The more specific of two hostnames if one covers the other, else ""."""
    if _covers(other, host):
        return host
    return other if _covers(host, other) else ""


def _covers(wide: str, narrow: str) -> bool:
    return wide in ("*", narrow) or (wide.startswith("*.") and narrow.endswith(wide[1:]))
