"""Building the route table and matching against it: `python -m tests.bench.bench_routes`."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np

from flowd.gateway.attribution.attribute import Attributor
from flowd.gateway.report.simulate import Request, match_request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.enums import EntryKind
from flowd.model.records.request import empty_requests

ROUTES, PODS, SERVICES = 5000, 10_000, 2000
TEAMS = 50


def meta(name: str, namespace: str, **labels: str) -> core.ObjectMeta:
    return core.ObjectMeta(name=name, namespace=namespace, labels=labels)


def cluster(routes: int, pods: int = PODS, services: int = SERVICES) -> Objects:
    """A cluster: one Gateway, Services with one slice each, Pods, and HTTPRoutes on 100 hosts."""
    objects = Objects()
    everyone = gw.AllowedRoutes(namespaces=gw.RouteNamespaces(from_="All"))
    listeners = (gw.Listener(name="http", port=80, protocol="HTTP", allowed_routes=everyone),)
    spec = gw.GatewaySpec(gateway_class_name="any", listeners=listeners)
    objects.add(gw.Gateway(metadata=meta("edge", "infra"), spec=spec))
    for number in range(services):
        namespace, name = f"team-{number % TEAMS}", f"svc-{number}"
        ports = (core.ServicePort(name="http", port=80, target_port=8080),)
        address = f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}"
        service = core.ServiceSpec(selector={"app": name}, ports=ports, cluster_ip=address)
        objects.add(core.Service(metadata=meta(name, namespace), spec=service))
        mine = range(number, pods, services)
        endpoints = tuple(core.SliceEndpoint(addresses=(pod_ip(pod),)) for pod in mine)
        labels = {"kubernetes.io/service-name": name}
        objects.add(
            core.EndpointSlice(
                metadata=core.ObjectMeta(name=name, namespace=namespace, labels=labels),
                endpoints=endpoints,
                ports=(core.EndpointPort(name="http", port=8080),),
            )
        )
    for pod in range(pods):
        number = pod % services
        status = core.PodStatus(phase="Running", pod_ip=pod_ip(pod))
        where = meta(f"pod-{pod}", f"team-{number % TEAMS}", app=f"svc-{number}")
        objects.add(core.Pod(metadata=where, status=status))
    for number in range(routes):
        objects.add(route(number, services))
    return objects


def pod_ip(pod: int) -> str:
    return f"10.{1 + pod // 65536}.{pod // 256 % 256}.{pod % 256}"


def route(number: int, services: int, weight: int = 1) -> gw.HTTPRoute:
    team = number % TEAMS
    ref = gw.HTTPBackendRef(name=f"svc-{number % services}", port=80, weight=weight)
    paths = (f"/app-{number}", f"/app-{number}/admin")
    rules = tuple(
        gw.HTTPRouteRule(
            matches=(gw.HTTPRouteMatch(path=gw.HTTPPathMatch(value=path)),),
            backend_refs=(ref,),
        )
        for path in paths
    )
    parent = gw.ParentReference(name="edge", namespace="infra")
    hosts = (f"host-{number % 100}.test",)
    spec = gw.HTTPRouteSpec(parent_refs=(parent,), hostnames=hosts, rules=rules)
    return gw.HTTPRoute(metadata=meta(f"route-{number}", f"team-{team}"), spec=spec)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median of the rounds."""
    times: list[float] = []
    for _ in range(rounds):
        gc.collect()
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def changes(objects: Objects) -> dict[str, Objects]:
    """The cluster after one change, by kind of the changed object."""
    routes = {**objects.http_routes, ("team-1", "route-1"): route(1, SERVICES, weight=7)}
    at, part = next(iter(objects.slices.items()))
    less = msgspec.structs.replace(part, endpoints=part.endpoints[1:])
    pods, services = dict(objects.pods), dict(objects.services)
    pods.popitem()
    services.popitem()
    (edge, gateway), *_ = objects.gateways.items()
    listeners = (*gateway.spec.listeners, gw.Listener(name="more", port=8080, protocol="HTTP"))
    spec = msgspec.structs.replace(gateway.spec, listeners=listeners)
    return {
        "HTTPRoute": replace(objects, http_routes=routes),
        "slice": replace(objects, slices={**objects.slices, at: less}),
        "Pod": replace(objects, pods=pods),
        "Service": replace(objects, services=services),
        "Gateway": replace(objects, gateways={edge: msgspec.structs.replace(gateway, spec=spec)}),
    }


def main() -> None:
    objects = cluster(ROUTES)
    table = RouteTable.build(objects, "eg")
    print(f"{ROUTES} HTTPRoutes, {PODS} Pods, {SERVICES} Services")
    print(f"  full build            {seconds(lambda: RouteTable.build(objects, 'eg'), 3):8.3f} s")
    for what, after in changes(objects).items():
        spent = seconds(partial(RouteTable.build, after, "eg", table), 5)
        print(f"  after one {what:<12}{spent * 1e3:8.1f} ms")

    small = cluster(1000, pods=1000, services=1000)
    table = RouteTable.build(small, "spec")
    asked = [
        Request(host=f"host-{number % 100}.test", path=f"/app-{number}/x") for number in range(1000)
    ]
    spent = seconds(lambda: [match_request(table, request) for request in asked], 5)
    print(
        f"1,000 HTTPRoutes on one Gateway\n  match_request         {len(asked) / spent:8,.0f} a second"
    )
    attributor = Attributor(Directory("node", "cluster"), "spec")
    attributor.update(small)
    batch = empty_requests(100_000)
    batch["kind"] = EntryKind.HTTP
    numbers = np.arange(len(batch)) % 1000
    batch["host"] = [f"host-{number % 100}.test" for number in numbers]
    batch["path"] = [f"/app-{number}/x" for number in numbers]
    batch["method"] = "GET"
    attributor.attribute(batch)
    spent = seconds(lambda: attributor.attribute(batch), 3)
    print(f"  attribute, by rules   {len(batch) / spent:8,.0f} a second, repeated shapes")


if __name__ == "__main__":
    main()
