"""Usable endpoints of a Service: EndpointSlice conditions as kube-proxy reads them."""

from typing import Any

import msgspec
import pytest

from flowd.gateway.report.describe import describe
from flowd.gateway.report.simulate import Request, match_request
from flowd.gateway.table.route_table import RouteTable
from flowd.identity.table import IdentityTable
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import column, pack
from flowd.model.directory import Directory
from flowd.model.endpoint import WORLD
from tests.unit.gateway.attribution.test_shared_proxies import gateway, meta

READY = {"ready": True, "serving": True, "terminating": False}
STARTING = {"ready": False, "serving": False, "terminating": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}
CASES: dict[str, tuple[list[dict[str, Any]], int]] = {
    "nothing set": ([{}], 1),
    "one ready": ([READY, STARTING], 1),
    "a ready one goes before one that leaves": ([READY, LEAVING, LEAVING], 1),
    "none ready, one that leaves and serves": ([STARTING, LEAVING, GONE], 1),
    "all leave": ([LEAVING, LEAVING], 2),
    "none serves": ([STARTING, GONE], 0),
    "serving, not ready and not leaving": ([{"ready": False, "serving": True}], 0),
    "whether it serves is not told": ([{"ready": False, "terminating": True}], 1),
    "published before it is ready": ([{"ready": True, "serving": False}], 1),
}


def cluster(*conditions: dict[str, Any]) -> Objects:
    """A Gateway with a route to a Service that has an endpoint and a Pod for each condition."""
    objects = Objects()
    ref = gw.HTTPBackendRef(name="web", port=80)
    spec = gw.HTTPRouteSpec(
        parent_refs=(gw.ParentReference(name="edge", namespace="infra"),),
        rules=(gw.HTTPRouteRule(backend_refs=(ref,)),),
    )
    ports = (core.ServicePort(name="http", port=80, target_port=8080),)
    endpoints = tuple(
        core.SliceEndpoint(
            addresses=(f"10.0.0.{number}",),
            conditions=msgspec.convert(entry, core.EndpointConditions),
            target_ref=core.ObjectReference(kind="Pod", namespace="shop", name=f"web-{number}"),
        )
        for number, entry in enumerate(conditions)
    )
    for item in (
        gateway("edge", 80),
        gw.HTTPRoute(metadata=meta("web", "shop"), spec=spec),
        core.Service(metadata=meta("web", "shop"), spec=core.ServiceSpec(ports=ports)),
        core.EndpointSlice(
            metadata=meta("web-1", "shop", **{"kubernetes.io/service-name": "web"}),
            endpoints=endpoints,
            ports=(core.EndpointPort(name="http", port=8080),),
        ),
        *(pod(number, entry) for number, entry in enumerate(conditions)),
    ):
        objects.add(item)
    return objects


def pod(number: int, conditions: dict[str, Any], phase: str = "Running") -> core.Pod:
    deleted = "2026-01-01T00:00:00Z" if conditions.get("terminating") else ""
    metadata = core.ObjectMeta(name=f"web-{number}", namespace="shop", deletion_timestamp=deleted)
    status = core.PodStatus(phase=phase, pod_ip=f"10.0.0.{number}")
    return core.Pod(metadata=metadata, status=status)


@pytest.mark.parametrize(("conditions", "usable"), CASES.values(), ids=CASES)
def test_ready_ones_count_and_without_any_those_that_leave(
    conditions: list[dict[str, Any]], usable: int
) -> None:
    objects = cluster(*conditions)
    table = RouteTable.build(objects)
    (route,) = describe(table).routes
    (backend,) = route.rules[0].backends
    assert (backend.ready_endpoints, backend.endpoints) == (usable, len(conditions))
    outcome = match_request(table, Request(host="any.test"))
    expected = (None, "") if usable else (503, "no_endpoints")
    assert (outcome.status, outcome.reason) == expected


def test_a_change_of_conditions_is_followed() -> None:
    before = RouteTable.build(cluster(READY, READY))
    for conditions, expected in (((LEAVING, LEAVING), (2, 2)), ((GONE, LEAVING), (1, 2))):
        before = RouteTable.build(cluster(*conditions), before=before)
        assert before.services.endpoint_count("shop", "web") == expected


def test_a_pod_that_terminates_is_itself_until_it_is_gone() -> None:
    directory = Directory()
    table = IdentityTable(directory, node_name="n", cluster_name="c")
    rows = column(["10.0.0.0"])
    before = None
    for conditions in (READY, LEAVING, GONE):
        table.update(cluster(conditions))
        endpoint = directory.endpoints[int(table.resolve(rows)[0])]
        assert (endpoint.namespace, endpoint.name, endpoint.service) == ("shop", "web-0", "web")
        assert before in (None, endpoint.identity)
        before = endpoint.identity
    finished = pod(0, GONE, "Succeeded")
    table.update(Objects(pods={finished.key: finished}))
    assert directory.endpoints[int(table.resolve(rows)[0])] == WORLD
    assert pack("10.0.0.0") not in table.entries()
