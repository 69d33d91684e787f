"""SpanBuilder: attributes by OpenTelemetry's conventions, ids, parents, sampling."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.trace.status import StatusCode

from flowd.model.records.batch import FlowBatch
from flowd.model.route import RouteRef
from flowd_exporters.otlp.span_attributes import split_authority
from flowd_exporters.otlp.spans import SpanBuilder
from tests.support.exporter_batches import NOW, SPAN, TRACE, cluster, web_requests


def spans(batch: FlowBatch, **options: Any) -> list[ReadableSpan]:
    builder = SpanBuilder(cluster(), **options)
    return list(builder.build(batch.requests))


def rule_path(route: RouteRef) -> str:
    return f"/{route.rule_name}"


def context(span: ReadableSpan) -> SpanContext:
    assert span.context
    return span.context


def one(**columns: Any) -> ReadableSpan:
    batch = web_requests(1)
    for name, value in columns.items():
        batch.requests[name] = value
    [span] = spans(batch)
    return span


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_in_full() -> None:
    batch = web_requests(1)
    batch.requests["traceparent"] = f"00-{TRACE}-{SPAN}-01"
    batch.requests["host"] = "shop.example.com:8443"
    batch.requests["original_path"] = "/v1/login?token=secret"
    [span] = spans(batch, template=rule_path)
    assert span.name == "GET /login"
    assert span.kind is SpanKind.SERVER
    assert span.status.status_code is StatusCode.UNSET
    assert (span.start_time, span.end_time) == (NOW, NOW + 20_000_000)
    assert context(span).trace_id == int(TRACE, 16)
    assert span.parent
    assert span.parent.span_id == int(SPAN, 16)
    assert span.parent.is_remote
    assert context(span).span_id not in (0, span.parent.span_id)
    assert attributes(span) == {
        "http.request.method": "GET",
        "http.route": "/login",
        "http.request.body.size": 0,
        "http.response.body.size": 0,
        "http.response.status_code": 200,
        "http.request.header.x-request-id": ["9e1f"],
        "url.scheme": "https",
        "url.path": "/v1/login",
        "server.address": "shop.example.com",
        "server.port": 8443,
        "client.address": "10.0.0.9",
        "client.port": 40000,
        "network.peer.address": "10.0.0.9",
        "network.peer.port": 40000,
        "network.protocol.name": "http",
        "network.protocol.version": "2",
        "network.transport": "tcp",
        "destination.address": "10.0.1.7",
        "destination.port": 8080,
        "user_agent.original": "curl/8",
        "flowd.upstream.duration": 0.015,
        "flowd.attribution": "name",
        "flowd.outcome": "unknown",
        "flowd.gateway.namespace": "infra",
        "flowd.gateway.name": "edge",
        "flowd.gateway.listener": "https",
        "flowd.route.kind": "HTTPRoute",
        "flowd.route.namespace": "shop",
        "flowd.route.name": "web",
        "flowd.route.rule": 0,
        "flowd.route.rule_name": "login",
        "flowd.route.match": 0,
        "flowd.backend.kind": "Service",
        "flowd.backend.namespace": "shop",
        "flowd.backend.name": "web",
        "flowd.backend.port": 80,
        "source.k8s.namespace.name": "users",
        "source.k8s.pod.name": "shopper-1",
        "source.k8s.statefulset.name": "shopper",
        "destination.k8s.namespace.name": "shop",
        "destination.k8s.pod.name": "web-7d9f-abc",
        "destination.k8s.deployment.name": "web",
        "destination.k8s.service.name": "web",
        "destination.k8s.node.name": "n2",
    }
    resource = dict(span.resource.attributes)
    assert {key: resource[key] for key in resource if not key.startswith("telemetry.")} == {
        "service.name": "infra/edge",
        "service.instance.id": "edge-5f7c-x1",
        "k8s.cluster.name": "test",
        "k8s.node.name": "n1",
        "k8s.namespace.name": "infra",
        "k8s.pod.name": "edge-5f7c-x1",
        "k8s.deployment.name": "edge",
    }


def test_nothing_known_is_a_plain_span_of_flowd() -> None:
    batch = web_requests(1)
    for name in ("route", "backend", "client_endpoint", "backend_endpoint", "gateway_endpoint"):
        batch.requests[name] = 0
    batch.requests["client_addr"] = batch.requests["up_remote_addr"] = 0
    batch.requests["host"] = batch.requests["user_agent"] = batch.requests["scheme"] = ""
    batch.requests["attribution"] = batch.requests["upstream_ns"] = 0
    [span] = spans(batch)
    assert span.name == "GET"
    assert span.parent is None
    assert span.resource.attributes["service.name"] == "flowd"
    found = attributes(span)
    assert found["flowd.attribution"] == "none"
    assert found["url.scheme"] == "http"
    unknown = ("client.", "server.", "source.", "destination.", "flowd.route", "flowd.backend")
    assert not [key for key in found if key.startswith(unknown)]


@pytest.mark.parametrize(
    ("status", "flags", "error", "names"),
    [
        (404, 0, None, None),
        (500, 0, "500", None),
        (503, 1 << 5, "503", ["UF"]),
        (0, 1 << 14, "DC", ["DC"]),
        (0, 0, "_OTHER", None),
    ],
)
def test_errors(status: int, flags: int, error: str | None, names: list[str] | None) -> None:
    span = one(status=status, flags=flags)
    found = attributes(span)
    assert found.get("error.type") == error
    assert found.get("envoy.response_flags") == names
    assert (span.status.status_code is StatusCode.ERROR) == (error is not None)
    assert ("http.response.status_code" in found) == bool(status)


def test_an_unknown_method_does_not_name_the_span() -> None:
    span = one(method="BREW\x1b[2J")
    assert span.name == "HTTP"
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert attributes(span)["http.request.method_original"] == "BREW^[[2J"


def test_text_of_strangers_is_printable_and_bounded() -> None:
    span = one(path="/\udcff\x00" + "a" * 5000, user_agent="x\n" * 5000, host="h" * 5000)
    for value in attributes(span).values():
        if isinstance(value, str):
            assert value.isprintable()
            assert len(value) <= 2048
    span_bytes = str(attributes(span)["url.path"]).encode()
    assert span_bytes.startswith(b"/\\udcff^@")


@pytest.mark.parametrize("header", ["", "nonsense", f"00-{'0' * 32}-{SPAN}-01"])
def test_without_a_valid_parent_a_new_trace_begins(header: str) -> None:
    batch = web_requests(50)
    batch.requests["traceparent"] = header
    found = spans(batch)
    assert len({context(span).trace_id for span in found}) == 50
    assert len({context(span).span_id for span in found}) == 50
    assert all(span.parent is None for span in found)


def test_the_callers_sampling_decision_holds() -> None:
    batch = web_requests(3)
    batch.requests["traceparent"] = [f"00-{TRACE}-{SPAN}-{flags}" for flags in ("00", "01", "03")]
    assert len(spans(batch, ratio=0.0)) == 2
    found = spans(batch, unsampled=True)
    assert len(found) == 3
    assert all(context(span).trace_flags.sampled for span in found)


def test_the_ratio_is_of_requests_without_a_parent() -> None:
    batch = web_requests(2000)
    assert len(spans(batch)) == 2000
    assert spans(batch, ratio=0.0) == []
    assert 350 < len(spans(batch, ratio=0.25)) < 650  # 7 standard deviations


def test_a_changed_route_changes_the_template() -> None:
    paths = iter(["/old", "/new"])

    def template(route: RouteRef) -> str:
        return next(paths)

    builder = SpanBuilder(cluster(), template=template)
    names = [[s.name for s in builder.build(web_requests(2).requests)] for _ in range(2)]
    assert names == [["GET /old"] * 2, ["GET /new"] * 2]


@pytest.mark.parametrize(
    ("authority", "parts"),
    [
        ("a.example", ("a.example", 0)),
        ("a.example:80", ("a.example", 80)),
        ("[::1]:8080", ("::1", 8080)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
        ("a:b", ("a", 0)),
        ("a:99999", ("a", 0)),
        ("a:\u0661", ("a", 0)),
        ("", ("", 0)),
    ],
)
def test_authority(authority: str, parts: tuple[str, int]) -> None:
    assert split_authority(authority) == parts


def test_every_attribute_is_in_the_docs() -> None:
    batch = web_requests(2)
    batch.requests["local_addr"] = 1
    batch.requests["details"] = batch.requests["cluster"] = "x"
    batch.requests["attempts"] = batch.requests["flags"] = 1
    batch.requests["status"] = 503
    batch.requests["method"] = ["GET", "BREW"]
    batch.requests["route"] = [1, 4]
    page = (Path(__file__).parents[4] / "docs" / "traces.md").read_text()
    keys = {key for span in spans(batch, template=rule_path) for key in attributes(span)}
    assert {"flowd.route.reason", "network.local.port", "http.route"} < keys
    sides = ("source.k8s.", "destination.k8s.")
    bare = {key.partition(".")[2] if key.startswith(sides) else key for key in keys}
    assert [key for key in bare if f"`{key}`" not in page] == []
