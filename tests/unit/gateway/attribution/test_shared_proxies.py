"""Several Gateways behind one proxy: attribution to one, and ambiguous cases."""

from dataclasses import replace

import numpy as np
import pytest

from flowd.gateway.attribution.attribute import Attributor
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack
from flowd.model.directory import Directory
from flowd.model.enums import Attribution, EntryKind
from flowd.model.records.request import empty_requests
from flowd.model.route import RouteRef

PROXY = "192.0.2.1"
EG = {"gateway.envoyproxy.io/owning-gatewayclass": "merged", "app.kubernetes.io/name": "envoy"}
CILIUM = {"k8s-app": "cilium-envoy"}


def meta(name: str, namespace: str = "infra", **labels: str) -> core.ObjectMeta:
    return core.ObjectMeta(name=name, namespace=namespace, labels=labels)


def gateway(name: str, port: int, hostname: str = "", *, class_name: str = "merged") -> gw.Gateway:
    everyone = gw.AllowedRoutes(namespaces=gw.RouteNamespaces(from_="All"))
    listener = gw.Listener(
        name=f"http-{name}", port=port, protocol="HTTP", hostname=hostname, allowed_routes=everyone
    )
    spec = gw.GatewaySpec(gateway_class_name=class_name, listeners=(listener,))
    return gw.Gateway(metadata=meta(name), spec=spec)


def route(name: str, *parents: str, path: str = "/") -> gw.HTTPRoute:
    refs = tuple(gw.ParentReference(name=parent, namespace="infra") for parent in parents)
    match = gw.HTTPRouteMatch(path=gw.HTTPPathMatch(value=path))
    spec = gw.HTTPRouteSpec(parent_refs=refs, rules=(gw.HTTPRouteRule(matches=(match,)),))
    return gw.HTTPRoute(metadata=meta(name, "shop"), spec=spec)


def proxy(labels: dict[str, str]) -> core.Pod:
    return core.Pod(
        metadata=core.ObjectMeta(name="envoy", namespace="proxies", labels=labels),
        status=core.PodStatus(phase="Running", pod_ip=PROXY),
    )


def cluster(labels: dict[str, str], *items: core.Object) -> Objects:
    """The proxy and these objects, with a Gateway of another class on the same port and hosts."""
    objects = Objects()
    for item in (proxy(labels), *items):
        objects.add(item)
    controller = "io.cilium/gateway-controller" if labels == CILIUM else "eg"
    spec = gw.GatewayClassSpec(controller_name=controller)
    objects.add(gw.GatewayClass(metadata=core.ObjectMeta(name="merged"), spec=spec))
    objects.add(gateway("stranger", 80, class_name="other"))
    objects.add(route("strange", "stranger"))
    return objects


def asked(
    objects: Objects,
    port: int,
    host: str = "",
    path: str = "/",
    *,
    dialect: str = "eg",
    name: str = "",
    node: str = "",
    address: str = PROXY,
) -> tuple[RouteRef, Attribution]:
    """Attribution of a request that the proxy accepted on a port."""
    directory = Directory()
    attributor = Attributor(directory, dialect)
    attributor.update(objects)
    batch = empty_requests(1)
    batch["kind"], batch["method"] = EntryKind.HTTP, "GET"
    batch["local_addr"] = np.frombuffer(pack(address), np.uint8)
    batch["local_port"], batch["host"], batch["path"] = port, host, path
    batch["route_name"], batch["node_cluster"] = name, node
    attributor.attribute(batch)
    return directory.routes[int(batch["route"][0])], Attribution(int(batch["attribution"][0]))


@pytest.mark.parametrize(("labels", "dialect"), [(EG, "eg"), (CILIUM, "cilium")])
def test_ports_tell_gateways_apart(labels: dict[str, str], dialect: str) -> None:
    objects = cluster(labels, gateway("a", 80), gateway("b", 8080), route("web", "a", "b"))
    for port, name in ((10080 if dialect == "eg" else 80, "a"), (8080, "b")):
        found, how = asked(objects, port, dialect=dialect)
        assert (found.gateway, found.listener, found.name) == (name, f"http-{name}", "web")
        assert how == Attribution.RESOLVER


def test_hosts_tell_gateways_apart() -> None:
    objects = cluster(
        EG, gateway("a", 80, "*.a.test"), gateway("b", 80, "*.b.test"), route("web", "a", "b")
    )
    for name in ("a", "b"):
        found, _ = asked(objects, 10080, f"www.{name}.test")
        assert (found.gateway, found.name, found.reason) == (name, "web", "")
    none, how = asked(objects, 10080, "www.c.test")
    assert (none.kind, none.gateway, how) == ("", "", Attribution.LISTENER)


def test_routes_tell_gateways_apart() -> None:
    objects = cluster(
        EG,
        gateway("a", 80),
        gateway("b", 80),
        route("one", "a", path="/one"),
        route("two", "b", path="/two"),
    )
    assert asked(objects, 10080, path="/one")[0].gateway == "a"
    assert asked(objects, 10080, path="/two")[0].gateway == "b"
    name = "httproute/shop/two/rule/0/match/0/*"
    named, how = asked(objects, 10080, path="/two", name=name)
    assert (named.gateway, how) == ("b", Attribution.NAME)


def test_what_nothing_tells_apart_says_whom_it_may_be_of() -> None:
    both = route("web", "a", "b")
    objects = cluster(EG, gateway("a", 80), gateway("b", 80), gateway("c", 8080), both)
    name = "httproute/shop/web/rule/0/match/0/*"
    for text in ("", name):
        found, _ = asked(objects, 10080, name=text)
        assert (found.gateway, found.listener, found.name) == ("", "", "web")
        assert found.reason == "shared by infra/a, infra/b"


def test_many_gateways_are_not_all_named() -> None:
    names = [f"g{number}" for number in range(12)]
    objects = cluster(EG, *(gateway(name, 80) for name in names), route("web", *names))
    reason = asked(objects, 10080)[0].reason
    assert reason.startswith("shared by infra/g0, infra/g1,")
    assert reason.endswith(" and 4 more")


def test_the_class_that_the_node_names_is_enough() -> None:
    objects = cluster({}, gateway("a", 80), route("web", "a"))
    found, _ = asked(objects, 10080, node="merged", address="192.0.2.9")
    assert (found.gateway, found.name) == ("a", "web")


@pytest.mark.parametrize("host", ["ingress", "ingress.infra.svc.cluster.local"])
def test_gateways_that_link_a_service_share_its_pods(host: str) -> None:
    link = (gw.GatewayAddress(type="Hostname", value=host),)
    linked = [gateway("a", 80, class_name="istio"), gateway("b", 8080, class_name="istio")]
    items: list[core.Object] = [
        gw.Gateway(metadata=one.metadata, spec=gw.GatewaySpec(
            gateway_class_name="istio", listeners=one.spec.listeners, addresses=link
        ))
        for one in linked
    ]  # fmt: skip
    ports = (
        core.ServicePort(name="one", port=80, target_port="http"),
        core.ServicePort(name="two", port=8080),
    )
    service = core.ServiceSpec(cluster_ip="192.0.2.50", ports=ports)
    part = core.EndpointSlice(
        metadata=meta("ingress-1", **{"kubernetes.io/service-name": "ingress"}),
        endpoints=(core.SliceEndpoint(addresses=(PROXY,)),),
        ports=(core.EndpointPort(name="one", port=8000), core.EndpointPort(name="two", port=8080)),
    )
    service = core.Service(metadata=meta("ingress"), spec=service)
    objects = cluster({}, *items, service, part, route("web", "a", "b"))
    for port, name in ((8000, "a"), (8080, "b")):
        found, _ = asked(objects, port, dialect="istio")
        assert (found.gateway, found.name) == (name, "web")
    assert asked(objects, 80, dialect="istio", address="192.0.2.50")[0].gateway == "a"


def test_a_proxy_that_comes_goes_or_changes_hands_is_followed() -> None:
    objects = cluster(EG, gateway("a", 80), gateway("b", 8080), route("web", "a", "b"))
    attributor = Attributor(Directory(), "eg")
    attributor.update(objects)
    assert attributor.table.gateways_at(pack(PROXY)) == ("infra/a", "infra/b")
    own = {
        "gateway.envoyproxy.io/owning-gateway-name": "b",
        "gateway.envoyproxy.io/owning-gateway-namespace": "infra",
    }
    for pods, expected in (
        ([proxy(own)], ("infra/b",)),
        ([], ()),
        ([proxy(EG)], ("infra/a", "infra/b")),
    ):
        after = Objects(**{name: getattr(objects, name) for name in ("gateways", "http_routes")})
        after.pods = {pod.key: pod for pod in pods}
        attributor.update(after)
        assert attributor.table.gateways_at(pack(PROXY)) == expected


def test_a_slice_that_comes_later_tells_the_port_of_its_service() -> None:
    ports = (core.ServicePort(name="http", port=80, target_port="web"),)
    service = core.Service(
        metadata=core.ObjectMeta(name="envoy", namespace="proxies", labels=EG),
        spec=core.ServiceSpec(cluster_ip="192.0.2.50", ports=ports),
    )
    objects = cluster(EG, gateway("a", 80), gateway("b", 8000), route("web", "a", "b"), service)
    attributor = Attributor(Directory(), "istio")
    attributor.update(objects)
    both = attributor.table.gateways_at(pack(PROXY))
    assert [entry.name for entry in attributor.table.listeners_at(both, 8000)] == ["http-b"]
    part = core.EndpointSlice(
        metadata=meta("envoy-1", "proxies", **{"kubernetes.io/service-name": "envoy"}),
        endpoints=(core.SliceEndpoint(addresses=(PROXY,)),),
        ports=(core.EndpointPort(name="http", port=8000),),
    )
    attributor.update(replace(objects, slices={part.key: part}))
    assert [entry.name for entry in attributor.table.listeners_at(both, 8000)] == ["http-a"]
