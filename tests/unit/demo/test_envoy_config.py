"""The demo's Envoy configuration has Envoy Gateway's names, order and access logs."""

from pathlib import Path
from typing import Any

import pytest

from demo import DemoError, ExpectedRoute
from demo.cluster.objects import of_kind, static_objects
from demo.cluster.topology import Topology
from demo.envoy.config import EnvoyTranslator
from demo.envoy.routes import matches, milliseconds
from demo.traffic import KINDS

DIRECTORY = Path("/state")


def bootstrap(loopback: bool = False) -> dict[str, Any]:
    topology = Topology(loopback=loopback)
    return EnvoyTranslator(topology, static_objects(), DIRECTORY, ("10.77.0.1", 9001)).bootstrap()


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(item for item in items if item["name"] == name)


def listener(name: str, loopback: bool = False) -> dict[str, Any]:
    return named(bootstrap(loopback)["static_resources"]["listeners"], f"infra/echo/{name}")


def chain(name: str) -> dict[str, Any]:
    found = listener(name)
    return found.get("default_filter_chain") or found["filter_chains"][0]


def manager(name: str) -> dict[str, Any]:
    return chain(name)["filters"][0]["typed_config"]


def clusters(loopback: bool = False) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in bootstrap(loopback)["static_resources"]["clusters"]}


def routes(listener_name: str, host: str) -> list[dict[str, Any]]:
    hosts = manager(listener_name)["route_config"]["virtual_hosts"]
    name = f"infra/echo/{listener_name}/{host.replace('.', '_')}"
    return named(hosts, name)["routes"]


def resource(item: dict[str, Any]) -> dict[str, str]:
    return item["metadata"]["filter_metadata"]["envoy-gateway"]["resources"][0]


@pytest.mark.parametrize(
    ("name", "port", "chain_name", "prefix"),
    [
        ("http", 10080, "infra/echo/http", "http-10080"),
        ("https", 10443, "infra/echo/https", "https-10443"),
        ("tls", 8443, "tlsroute/default/passthrough", "tls-passthrough-8443"),
    ],
)
def test_listener_chain_and_stat_prefix(name: str, port: int, chain_name: str, prefix: str):
    address = listener(name)["address"]["socket_address"]
    assert address == {"address": "0.0.0.0", "port_value": port}
    assert chain(name)["name"] == chain_name
    assert chain(name)["filters"][0]["typed_config"]["stat_prefix"] == prefix


def test_loopback_binds_the_gateways_address_on_both_sides():
    assert listener("http", loopback=True)["address"]["socket_address"]["address"] == "127.0.77.2"
    source = clusters(loopback=True)["httproute/default/echo/rule/0"]["upstream_bind_config"]
    assert source == {"source_address": {"address": "127.0.77.2", "port_value": 0}}


def test_connection_manager_normalizes_as_envoy_gateway_does():
    config = manager("http")
    assert config["merge_slashes"]
    assert config["path_with_escaped_slashes_action"] == "UNESCAPE_AND_REDIRECT"
    assert config["http_filters"][-1]["typed_config"]["suppress_envoy_headers"]
    assert config["route_config"]["name"] == "infra/echo/http"
    assert config["route_config"]["ignore_port_in_host_matching"]


def test_virtual_hosts_of_a_listener_name_gateway_and_section():
    hosts = manager("http")["route_config"]["virtual_hosts"]
    assert {host["name"].rpartition("/")[2]: host["domains"] for host in hosts} == {
        "echo_example": ["echo.example"],
        "faults_example": ["faults.example"],
        "old_example": ["old.example"],
        "orders_example": ["orders.example"],
        "split_example": ["split.example"],
    }
    assert resource(hosts[0]) == {
        "kind": "Gateway",
        "namespace": "infra",
        "name": "echo",
        "sectionName": "http",
    }


def test_routes_of_one_hostname_are_merged_and_sorted():
    assert [route["name"] for route in routes("http", "echo.example")] == [
        "httproute/default/echo/rule/2/match/1/echo_example",  # exact
        "httproute/default/headers/rule/0/match/0/echo_example",  # longest prefix
        "httproute/default/echo/rule/1/match/0/echo_example",
        "httproute/default/echo/rule/2/match/0/echo_example",  # a header
        "httproute/default/echo/rule/0/match/0/echo_example",
    ]


def test_method_counts_as_a_header():
    assert routes("http", "orders.example")[0]["match"] == {
        "path_separated_prefix": "/orders",
        "headers": [{"name": ":method", "string_match": {"exact": "POST"}}],
    }


def test_regex_comes_between_exact_and_prefix():
    def path(kind: str, value: str) -> dict[str, Any]:
        return {"matches": [{"path": {"type": kind, "value": value}}]}

    rules = [
        path("PathPrefix", "/longer/prefix"),
        path("RegularExpression", "/r"),
        path("Exact", "/e"),
    ]
    route = {"kind": "HTTPRoute", "spec": {"rules": rules}}
    assert [match.rule for match in matches([route])] == [2, 1, 0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_the_clients_expect_exists_in_envoys_terms(kind: Any):
    host = kind.host.partition(":")[0]
    route: ExpectedRoute | None = kind.route
    if kind.listener == "tls":
        names = {
            each["name"]: each["filter_chain_match"] for each in listener("tls")["filter_chains"]
        }
        taken = [name for name, match in names.items() if host in match["server_names"]]
        assert taken == ([f"tlsroute/{route.namespace}/{route.name}"] if route else [])
        return
    hosts = manager(kind.listener)["route_config"]["virtual_hosts"]
    found = {each["name"] for item in hosts if host in item["domains"] for each in item["routes"]}
    if route is None:
        assert not found or host == "orders.example"
        return
    name = f"httproute/{route.namespace}/{route.name}/rule/{route.rule}/match/{route.match}"
    assert f"{name}/{host.replace('.', '_')}" in found


def test_split_is_one_cluster_with_a_weighted_locality_a_backend():
    name = "httproute/default/split/rule/0"
    localities = clusters()[name]["load_assignment"]["endpoints"]
    assert [each["locality"]["region"] for each in localities] == [
        f"{name}/backend/0",
        f"{name}/backend/1",
    ]
    assert [each["load_balancing_weight"] for each in localities] == [95, 5]
    assert [resource(each)["name"] for each in localities] == ["echo-1", "echo-2"]
    assert [len(each["lb_endpoints"]) for each in localities] == [2, 1]


def test_clusters_name_route_and_rule():
    found = clusters()
    assert resource(found["httproute/default/echo/rule/1"]) == {
        "kind": "HTTPRoute",
        "namespace": "default",
        "name": "echo",
        "sectionName": "login",
    }
    assert "tlsroute/default/passthrough/rule/-1" in found
    assert "httproute/default/redirect/rule/0" not in found
    assert not any("team-c" in name for name in found), "its namespace may not attach"


def test_rule_without_endpoints_is_answered_by_envoy():
    route = named(
        routes("http", "faults.example"), "httproute/default/faults/rule/4/match/0/faults_example"
    )
    assert route["direct_response"] == {"status": 503}
    assert "httproute/default/faults/rule/4" not in clusters()


def test_filters_and_timeouts():
    added = routes("http", "echo.example")[1]["request_headers_to_add"]
    assert added == [
        {
            "header": {"key": "my-header", "value": "added-by-route"},
            "append_action": "APPEND_IF_EXISTS_OR_ADD",
        }
    ]
    assert routes("http", "old.example")[0]["redirect"] == {
        "scheme_redirect": "https",
        "host_redirect": "secure.example",
        "response_code": "MOVED_PERMANENTLY",
    }
    slow = [each["route"] for each in routes("http", "faults.example") if "/3/" in each["name"]]
    assert slow == [{"cluster": "httproute/default/faults/rule/3", "timeout": "0.3s"}]


def test_filter_that_cannot_be_translated_is_refused():
    objects = static_objects()
    of_kind(objects, "HTTPRoute")[0]["spec"]["rules"][0]["filters"] = [{"type": "RequestMirror"}]
    translator = EnvoyTranslator(Topology(), objects, DIRECTORY, ("10.77.0.1", 9001))
    with pytest.raises(DemoError, match="RequestMirror"):
        translator.bootstrap()


@pytest.mark.parametrize(("text", "expected"), [("300ms", 300), ("2s", 2000), ("1m", 60_000)])
def test_duration(text: str, expected: int):
    assert milliseconds(text) == expected


def test_duration_of_two_units_is_refused():
    with pytest.raises(DemoError, match="1m30s"):
        milliseconds("1m30s")


def test_access_log_of_requests():
    file, stream = (each["typed_config"] for each in manager("http")["access_log"])
    assert len(file["log_format"]["json_format"]) == 24
    assert file["log_format"]["json_format"]["route_name"] == "%ROUTE_NAME%"
    assert stream["additional_request_headers_to_log"] == [
        "traceparent",
        "version",
        "x-flowd-seq",
        "x-request-id",
    ]
    assert stream["common_config"]["buffer_flush_interval"] == "0.2s"
    als = clusters()[stream["common_config"]["grpc_service"]["envoy_grpc"]["cluster_name"]]
    endpoint = als["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {"address": "10.77.0.1", "port_value": 9001}


def test_listener_logs_connections_that_no_chain_took():
    for logger in listener("tls")["access_log"]:
        assert logger["filter"] == {"response_flag_filter": {"flags": ["NR"]}}
