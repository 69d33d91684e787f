"""A request through Envoy Gateway's data plane is attributed wherever flowd tells of it."""

import json

import pytest

from tests.cluster.addons.kubectl import kubectl
from tests.cluster.live import shop

RULES = [  # what is asked, the rule that takes it, its backend
    ("/cart/", (), 0, "cart"),
    ("/", ("-H", "version: 2"), 0, "cart"),
    ("/", (), 1, "web"),
]


@pytest.mark.parametrize(("prefix", "options", "rule", "backend"), RULES)
def test_relay_tells_route_rule_backend_and_pods(
    prefix: str, options: tuple[str, ...], rule: int, backend: str
) -> None:
    path = shop.new_path(prefix)
    answer = shop.ask("bare", path, *options)
    assert answer.service == backend
    flows = shop.requests(path)
    assert len(flows) == 1
    said = flows[0]["extensions"]["value"]
    assert said["gateway"] == "shop/shop"
    assert said["listener"] == "http"
    assert said["route"] == "HTTPRoute/shop/web"
    assert said["rule"] == rule
    assert said["backend"] == f"shop/{backend}:80"
    assert said["attribution"] == "name"
    assert flows[0]["source"]["pod_name"] == "bare"
    assert flows[0]["destination"]["pod_name"] == answer.pod


def test_prometheus_counts_each_request_once() -> None:
    query = (
        'sum(flowd_route_requests_total{route="web", rule="1", backend="web", code_class="2xx"})'
    )

    def total() -> float:
        found = shop.prometheus(query)
        return float(found[0]["value"][1]) if found else 0.0

    before = shop.settled(total)
    for _ in range(5):
        shop.ask("bare", shop.new_path())
    shop.patiently(lambda: total() >= before + 5)
    assert total() == before + 5


def test_the_collector_gets_a_span_with_its_route() -> None:
    path = shop.new_path("/cart/")
    answer = shop.ask("bare", path)
    assert shop.patiently(lambda: path in shop.collector())
    spans = [span for span in shop.collector().split("Span #") if path in span]
    assert len(spans) == 1
    for wanted in (
        "flowd.gateway.name: Str(shop)",
        "flowd.route.name: Str(web)",
        "flowd.route.rule: Int(0)",
        "flowd.backend.name: Str(cart)",
        f"destination.k8s.pod.name: Str({answer.pod})",
        "source.k8s.pod.name: Str(bare)",
    ):
        assert wanted in spans[0]


def test_top_shows_the_route() -> None:
    shop.ask("bare", shop.new_path())
    words = ["exec", "-n", "flowd-system", "daemonset/flowd", "--", "flowd", "top", "--once"]
    words += ["--server", "127.0.0.1:4244", "--view", "gateways", "-o", "json"]
    rows = [json.loads(line) for line in kubectl(*words).splitlines()]
    assert any("shop/web" in json.dumps(row) for row in rows)
