"""The main job end to end: what clients sent and backends saw is what the agent tells."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from google.protobuf import json_format, struct_pb2

from demo.client import Sent
from demo.lifecycle import Demo, envoy_binary
from flowd.client import Client
from flowd.wire.flow import flow_pb2
from flowd.wire.observer import observer_pb2
from tests.e2e.agent import can_capture, running

REQUESTS = 1200
REQUEST, RESPONSE = flow_pb2.REQUEST, flow_pb2.RESPONSE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(bool(can_capture()), reason=f"no kernel capture: {can_capture()}"),
]


@dataclass(frozen=True)
class Run:
    """One run of the demo: the truth, and every flow the agent tells."""

    demo: Demo
    sent: list[Sent]
    flows: list[flow_pb2.Flow]

    def http(self, kind: int) -> dict[int, list[flow_pb2.Flow]]:
        """HTTP flows of a kind by the number that the client gave the request.

        A response carries the request's id but not its headers, as in Hubble.
        """
        numbers: dict[str, int] = {}
        by_id: dict[str, list[flow_pb2.Flow]] = {}
        for flow in self.flows:
            if flow.l7.HasField("http"):
                headers = {h.key: h.value for h in flow.l7.http.headers}
                if flow.l7.type == REQUEST:
                    numbers[headers["x-request-id"]] = int(headers["x-flowd-seq"])
                if flow.l7.type == kind:
                    by_id.setdefault(headers["x-request-id"], []).append(flow)
        return {numbers[request_id]: flows for request_id, flows in by_id.items()}


def extensions(flow: flow_pb2.Flow) -> dict[str, object]:
    """The flow's extensions as a dict."""
    fields = struct_pb2.Struct()
    flow.extensions.Unpack(fields)
    return json_format.MessageToDict(fields)


def http_only(sent: list[Sent]) -> list[Sent]:
    """Requests that Envoy sees as HTTP: not those inside passed-through TLS."""
    return [request for request in sent if request.listener != "tls"]


async def all_flows(server: str, wanted: int) -> list[flow_pb2.Flow]:
    """Every flow in the agent's history, once at least `wanted` responses are among them."""
    flows: list[flow_pb2.Flow] = []
    for _ in range(100):
        async with Client(server) as client:
            request = observer_pb2.GetFlowsRequest(number=(1 << 64) - 1)
            flows = [r.flow async for r in client.get_flows(request) if r.HasField("flow")]
        if sum(f.l7.type == RESPONSE for f in flows) >= wanted:
            break
        await asyncio.sleep(0.2)
    return flows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    envoy_binary()
    folder = tmp_path_factory.mktemp("demo")
    with Demo(folder / "state", record=True) as demo:
        options = ["--manifests", str(demo.manifests), "--node-name", demo.topology.node]
        with running(folder / "log", *options, als=demo.state.als) as agent:
            sent = demo.run_traffic(REQUESTS)
            flows = asyncio.run(all_flows(agent.hubble, len(http_only(sent))))
            yield Run(demo, sent, flows)
            assert agent.stop() == 0
        assert "Traceback" not in agent.text()


def test_every_request_is_there_once_as_request_and_as_response(run: Run) -> None:
    wanted = {request.seq for request in http_only(run.sent)}
    assert len(wanted) >= 1000
    for kind in (REQUEST, RESPONSE):
        found = run.http(kind)
        assert set(found) == wanted
        assert [seq for seq, flows in found.items() if len(flows) != 1] == []


def test_every_request_has_the_route_rule_and_match_that_took_it(run: Run) -> None:
    found = run.http(RESPONSE)
    wrong: list[object] = []
    for request in http_only(run.sent):
        told = extensions(found[request.seq][0])
        if request.route is None:
            right = "route" not in told and told["reason"] == "route_not_found"
        else:
            route = f"{request.route.kind}/{request.route.namespace}/{request.route.name}"
            right = (told.get("route"), told.get("rule"), told.get("match")) == (
                route,
                request.route.rule,
                request.route.match,
            )
        if not right or told.get("gateway") != "infra/echo" or told["listener"] != request.listener:
            wrong.append((request.kind, told))
    assert wrong == []


def test_every_request_has_the_backend_that_saw_it(run: Run) -> None:
    found = run.http(RESPONSE)
    seen = {one.seq: one for one in run.demo.seen() if one.seq}
    checked = 0
    for request in http_only(run.sent):
        flow = found[request.seq][0]
        told = extensions(flow)
        one = seen.get(request.seq)
        if one is None:
            assert not request.backend
            continue
        assert str(told["backend"]).split(":")[0] == f"{one.namespace}/{one.app}", request.kind
        assert f"{flow.source.namespace}/{flow.source.pod_name}" == f"{one.namespace}/{one.pod}"
        checked += 1
    assert checked >= 800


def test_every_request_has_the_client_pod_status_and_words(run: Run) -> None:
    requests, responses = run.http(REQUEST), run.http(RESPONSE)
    for request in http_only(run.sent):
        asked, answered = requests[request.seq][0], responses[request.seq][0]
        assert (asked.source.namespace, asked.source.pod_name) == (request.namespace, request.pod)
        assert asked.IP.source == request.client
        assert asked.l4.TCP.source_port == request.client_port
        assert asked.l7.http.method == request.method
        assert answered.l7.http.code == request.status == request.expected_status
        assert answered.l7.latency_ns > 0
        assert answered.is_reply.value
        scheme = "https" if request.listener == "https" else "http"
        assert asked.l7.http.url == f"{scheme}://{request.host}{request.path}"


def test_passed_through_tls_is_attributed_on_its_connections(run: Run) -> None:
    passed = [r for r in run.sent if r.listener == "tls" and r.route]
    assert passed
    ports = {(r.client, r.client_port) for r in passed if r.fresh}
    told = {
        (flow.IP.source, flow.l4.TCP.source_port): extensions(flow).get("route")
        for flow in run.flows
        if flow.Type == flow_pb2.L3_L4 and not flow.is_reply.value
    }
    missing = {port for port in ports if port not in told}
    assert not missing
    routes = Counter(told[port] for port in ports)
    assert set(routes) <= {"TLSRoute/default/passthrough", None}


def test_the_split_is_seen_as_it_was(run: Run) -> None:
    found = run.http(RESPONSE)
    sent = Counter(
        r.backend.split("/")[-1].rsplit("-", 2)[0] for r in run.sent if r.kind == "split"
    )
    told = Counter(
        str(extensions(found[r.seq][0])["backend"]).split("/")[1].split(":")[0]
        for r in run.sent
        if r.kind == "split"
    )
    assert sum(told.values()) == sum(sent.values()) >= 200
    assert 0.88 <= told["echo-1"] / sum(told.values()) <= 1.0
    assert told["echo-2"] > 0


def test_every_connection_of_a_request_is_known(run: Run) -> None:
    """The downstream socket of each request is one of the connections the kernel saw."""
    seen = {
        (flow.IP.source, flow.l4.TCP.source_port)
        for flow in run.flows
        if flow.Type == flow_pb2.L3_L4 and not flow.is_reply.value
    }
    assert {(r.client, r.client_port) for r in run.sent if r.status} <= seen
