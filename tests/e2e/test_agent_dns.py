"""DNS end to end: from packets to `flowd observe`, metrics, and names of other flows."""

import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.agent import PATIENCE, can_capture, flowd, running
from tests.kernel import dns_server, traffic
from tests.kernel.net import Cluster, inside

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(bool(can_capture()), reason=f"no kernel capture: {can_capture()}"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.add_pod()
        server = made.add_pod()
        with dns_server.serving(server, {"api.example.": [server.address]}):
            yield made


def observed(server: str, count: int, *flags: str) -> list[str]:
    """Lines of `flowd observe`, once there are as many as wanted."""
    deadline = time.monotonic() + PATIENCE
    while True:
        lines = flowd("observe", "--server", server, "--all", *flags).stdout.splitlines()
        if len(lines) >= count or time.monotonic() > deadline:
            return lines
        time.sleep(0.2)


def part(server: str) -> str:
    """The line of `flowd status` about DNS."""
    lines = flowd("status", "--server", server).stdout.splitlines()
    (found,) = [line for line in lines if line.split()[:1] == ["dns"] or " dns " in line]
    return found


def test_questions_are_flows_and_answers_name_outside_peers(
    cluster: Cluster, tmp_path: Path
) -> None:
    client, server = cluster.pods
    api = f"unix://{tmp_path}/hubble.sock"
    options = ["--hubble-socket", str(tmp_path / "hubble.sock")]
    with running(tmp_path / "log", *options, netns=cluster.node) as agent:
        dns_server.ask(client, server, "Api.example.")
        dns_server.ask_by_tcp(client, server, [("nx.example.", "AAAA")])
        told = observed(api, 4, "--type", "l7", "--protocol", "dns")
        traffic.tcp(client, server, 1, 100)
        named = observed(api, 1, "--to-fqdn", "api.example", "--to-port", str(traffic.PORT))
        other = observed(api, 0, "--to-fqdn", "*.other.example")
        status = part(api)
        with inside(cluster.node):
            scrape = urllib.request.urlopen(f"http://{agent.metrics}/metrics", timeout=PATIENCE)
            metrics = scrape.read().decode()
        assert agent.stop() == 0
    assert "Traceback" not in agent.text()
    for line, wanted in zip(
        told,
        [
            "dns-request packet FORWARDED (DNS Query api.example. A)",
            f'dns-response packet FORWARDED (DNS Answer "{server.address}" TTL: 60 (Query api',
            "dns-request packet FORWARDED (DNS Query nx.example. AAAA)",
            "(DNS Answer RCode: Non-Existent Domain TTL: 0 (Query nx.example. AAAA))",
        ],
        strict=True,
    ):
        assert wanted in line
    assert named
    assert all(f"-> api.example:{traffic.PORT} " in line for line in named)
    assert other == []
    assert "2 queries (0 sent again), 2 responses, 0 unanswered" in status
    no_error = {"rcode": "No Error", "qtypes": "A", "ips_returned": "1"}
    missing = {"rcode": "Non-Existent Domain", "qtypes": "AAAA", "ips_returned": "0"}
    samples = [one for family in text_string_to_metric_families(metrics) for one in family.samples]
    for name, labels in (
        ("hubble_dns_queries_total", missing | {"rcode": ""}),
        ("hubble_dns_responses_total", no_error),
        ("hubble_dns_responses_total", missing),
        ("hubble_dns_response_types_total", {"type": "A", "qtypes": "A"}),
    ):
        assert [one.value for one in samples if (one.name, one.labels) == (name, labels)] == [1]
    waited = [one.value for one in samples if one.name == "flowd_dns_duration_seconds_count"]
    assert sum(waited) == 2
    assert "\nhubble_http_requests_total{" not in metrics


def test_switched_off(cluster: Cluster, tmp_path: Path) -> None:
    api = f"unix://{tmp_path}/hubble.sock"
    options = ["--no-dns", "--hubble-socket", str(tmp_path / "hubble.sock")]
    with running(tmp_path / "log", *options, netns=cluster.node) as agent:
        client, server = cluster.pods
        dns_server.ask(client, server, "api.example.")
        assert observed(api, 1, "--protocol", "udp")
        assert observed(api, 0, "--protocol", "dns") == []
        assert "switched off by the setting `dns`" in part(api)
        assert agent.stop() == 0
