"""End to end: the agent's flows agree with the requests of clients and backends of the demo."""

import asyncio
import os
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from google.protobuf import json_format, struct_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from demo.client import SentRequest
from demo.lifecycle import Demo, envoy_binary
from flowd.client.client import Client
from flowd.wire.flow import flow_pb2
from flowd.wire.observer import observer_pb2
from tests.e2e.agent import can_capture, running
from tests.e2e.otlp_receiver import receiving

REQUESTS = 1200
SKEW_NS = 50_000_000  # between Envoy sending the last byte of a response and the client reading it
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
    """One run of the demo: sent and received requests, and all flows of the agent."""

    demo: Demo
    sent: list[SentRequest]
    flows: list[flow_pb2.Flow]
    metrics: str
    spans: list[Span]

    @property
    def numbers(self) -> dict[str, int]:
        """The client's request number by Envoy's request id."""
        found: dict[str, int] = {}
        for flow in self.flows:
            if flow.l7.HasField("http") and flow.l7.type == REQUEST:
                headers = {h.key: h.value for h in flow.l7.http.headers}
                found[headers["x-request-id"]] = int(headers["x-flowd-seq"])
        return found

    def http(self, kind: int) -> dict[int, list[flow_pb2.Flow]]:
        """HTTP flows of a kind by the client's request number.

        A response carries the request's id but not its headers, as in Hubble.
        """
        numbers, found = self.numbers, dict[int, list[flow_pb2.Flow]]()
        for flow in self.flows:
            if flow.l7.HasField("http") and flow.l7.type == kind:
                headers = {h.key: h.value for h in flow.l7.http.headers}
                found.setdefault(numbers[headers["x-request-id"]], []).append(flow)
        return found


def extensions(flow: flow_pb2.Flow) -> dict[str, object]:
    """The flow's extensions as a dict."""
    fields = struct_pb2.Struct()
    flow.extensions.Unpack(fields)
    return json_format.MessageToDict(fields)


def attributes(span: Span) -> dict[str, str]:
    """Attributes of a span as text; the first value of lists."""
    told: dict[str, str] = {}
    for pair in span.attributes:
        value = pair.value.array_value.values[0] if pair.value.array_value.values else pair.value
        told[pair.key] = str(getattr(value, value.WhichOneof("value") or "string_value"))
    return told


def http_only(sent: list[SentRequest]) -> list[SentRequest]:
    """Requests that Envoy sees as HTTP, without those inside TLS passthrough."""
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
    with Demo(folder / "state", record=True) as demo, receiving() as receiver:
        options = ["--manifests", str(demo.manifests), "--node-name", demo.topology.node]
        options += ["--otlp-endpoint", receiver.endpoint]
        with running(folder / "log", *options, als=demo.state.als) as agent:
            sent = demo.run_traffic(REQUESTS)
            flows = asyncio.run(all_flows(agent.hubble, len(http_only(sent))))
            with urllib.request.urlopen(f"http://{agent.metrics}/metrics", timeout=10) as page:
                metrics = page.read().decode()
            assert agent.stop() == 0
        assert "Traceback" not in agent.text()
        yield Run(demo, sent, flows, metrics, receiver.spans)


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
    sockets = {(r.client, r.client_port, r.server_port) for r in passed}
    told = {
        (flow.IP.source, flow.l4.TCP.source_port, flow.l4.TCP.destination_port): extensions(flow)
        for flow in run.flows
        if flow.Type == flow_pb2.L3_L4 and not flow.is_reply.value
    }
    assert sockets <= set(told)
    routes = Counter(told[socket].get("route") for socket in sockets)
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
        (flow.IP.source, flow.l4.TCP.source_port, flow.l4.TCP.destination_port)
        for flow in run.flows
        if flow.Type == flow_pb2.L3_L4 and not flow.is_reply.value
    }
    assert {(r.client, r.client_port, r.server_port) for r in run.sent if r.status} <= seen


def test_every_request_is_a_span_under_its_callers_span(run: Run) -> None:
    spans: dict[int, list[Span]] = {}
    numbers = run.numbers
    for span in run.spans:
        number = numbers[attributes(span)["http.request.header.x-request-id"]]
        spans.setdefault(number, []).append(span)
    sent = http_only(run.sent)
    assert sum(map(len, spans.values())) == len(sent)
    for request in sent:
        [span] = spans[request.seq]
        told = attributes(span)
        if traceparent := request.headers.get("traceparent"):
            _, trace, parent, _ = traceparent.split("-")
            assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
        else:
            assert not span.parent_span_id
        assert request.time_ns <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= request.time_ns + request.duration_ns + SKEW_NS
        assert told["http.request.method"] == request.method
        assert told["http.response.status_code"] == str(request.status)
        assert told["url.path"] == request.path.partition("?")[0]
        if request.route:
            assert told["flowd.route.name"] == request.route.name
            assert told["flowd.route.rule"] == str(request.route.rule)


def test_the_counters_agree_with_what_was_sent(run: Run) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(run.metrics):
        for sample in family.samples:
            if sample.name == "flowd_route_requests_total":
                labels = sample.labels
                counted[labels["route"], labels["rule"]] += int(sample.value)
    sent = Counter(
        (request.route.name, str(request.route.rule)) if request.route else ("", "")
        for request in http_only(run.sent)
    )
    assert counted == sent


def test_nothing_was_lost(run: Run) -> None:
    lost = {
        (sample.labels["place"], sample.labels["reason"]): sample.value
        for family in text_string_to_metric_families(run.metrics)
        for sample in family.samples
        if sample.name == "flowd_lost_total"
    }
    assert ("kernel", "ring_full") in lost
    assert {place: count for place, count in lost.items() if count} == {}


def test_promtool_finds_nothing_to_say_about_the_agents_page(run: Run) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    told = subprocess.run(
        [promtool, "check", "metrics"],
        input=run.metrics,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
