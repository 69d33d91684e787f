"""The latency split of a request, compared with paths and pods of known delay."""

import asyncio
import http.client
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.capture.preflight import unsupported_reason
from flowd.model.records.request import RequestBatch
from flowd.model.status import State
from tests.envoy.agent_rows import RunningAgent, running_agent, soon
from tests.envoy.envoy import Json, als_logger, cluster, http_filter, listener, running_envoy
from tests.envoy.pods import NODE, Pods, pods_on_a_node
from tests.kernel.net import Pod, inside
from tests.kernel.slow_link import slow_link

WAY = 0.05
ROUND_TRIP_US = 2 * WAY * 1e6
THOUGHT = 0.4
REQUESTS = 5
PATHS = ("/", "/think")
BIG = 8 << 20  # more than sockets send before the first acknowledgement
PARTS = ("client_network_us", "gateway_us", "pod_network_us", "pod_us")

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.kernel,
    pytest.mark.skipif(bool(unsupported_reason()), reason=unsupported_reason() or ""),
]


@pytest.fixture
def pods() -> Iterator[Pods]:
    with pods_on_a_node() as made:
        yield made


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers at once or after a delay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # otherwise the body waits a round trip for the ACK of the headers
    )

    def do_GET(self) -> None:
        if self.path == "/think":
            time.sleep(THOUGHT)
        body = b"x" * (BIG if self.path == "/big" else 1)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def backend(pods: Pods) -> Iterator[tuple[str, int]]:
    with inside(pods.backend.namespace):
        server = http.server.ThreadingHTTPServer((pods.backend.address, 0), Handler)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield pods.backend.address, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def ask(pod: Pod, target: tuple[str, int], paths: list[str]) -> None:
    """Send requests sequentially over one connection."""
    client = http.client.HTTPConnection(*target, timeout=60)
    with inside(pod.namespace):
        client.connect()
    try:
        for path in paths:
            client.request("GET", path)
            assert client.getresponse().read()
    finally:
        client.close()


def gateway_config(host: str, als: int, backend: tuple[str, int]) -> Json:
    routes: list[Json] = [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]
    http = http_filter(routes, als_logger("Http", "als", "als"))
    clusters = [cluster("backend", backend), cluster("als", (NODE, als), http2=True)]
    return {
        "node": {"id": "gateway-pod", "cluster": "infra/public"},
        "static_resources": {"listeners": [listener("http", http, host)], "clusters": clusters},
    }


def shares(rows: RequestBatch) -> dict[str, float]:
    """Median share of each part in the duration of the requests."""
    whole = rows["duration_ns"] / 1000
    return {part: float(np.median(rows[part] / whole)) for part in PARTS}


def on(agent: RunningAgent, part: str) -> bool:
    return any(each.part == part and each.state == State.ON for each in agent.agent.status())


@pytest.mark.parametrize("slow", ["pod", "client"])
async def test_the_slow_part_is_named(
    pods: Pods, backend: tuple[str, int], tmp_path: Path, slow: str
) -> None:
    async with running_agent(capture="on", als_listen=f"{NODE}:0", sockets=True) as agent:
        if not on(agent, "sockets"):
            pytest.skip("the TCP sockets of this machine cannot be followed")
        config = gateway_config(pods.gateway.address, agent.als, backend)
        with ExitStack() as stack:
            envoy = stack.enter_context(
                running_envoy(config, tmp_path, netns=pods.gateway.namespace)
            )
            behind = pods.backend if slow == "pod" else pods.client
            stack.enter_context(slow_link(pods.cluster, behind, WAY))
            paths = [path for path in PATHS for _ in range(REQUESTS)]
            paths += ["/big"] * (slow == "client")
            target = pods.gateway.address, envoy.ports["http"]
            await asyncio.to_thread(ask, pods.client, target, paths)
            await soon(lambda: agent.rows.received == len(paths))
    rows = agent.rows.requests
    total = np.sum([rows[part].astype(np.int64) for part in PARTS], axis=0)
    assert total.tolist() == (rows["duration_ns"] // 1000).tolist(), "the parts add up"
    by_path = {path: rows[rows["path"] == path] for path in PATHS}
    leg, other = ("up", "down") if slow == "pod" else ("down", "up")
    settled = by_path["/think"]
    assert (settled[f"{leg}_srtt_us"] >= 0.95 * ROUND_TRIP_US).all()
    ratio = settled[f"{other}_srtt_us"] / settled[f"{leg}_srtt_us"]
    assert np.median(ratio) < 0.5, "the other path is not slow"
    plain, think = shares(by_path["/"]), shares(by_path["/think"])
    if slow == "pod":
        assert plain["pod_network_us"] > 0.3
        assert by_path["/"]["pod_network_us"][1:].min() >= 0.95 * ROUND_TRIP_US
        assert think["pod_us"] > think["pod_network_us"] > 0.02
    else:
        assert think["pod_us"] > 0.5
        assert think["client_network_us"] == 0, "one window costs the gateway no waiting"
        big = rows[rows["path"] == "/big"]
        assert big["client_network_us"].min() >= ROUND_TRIP_US
        assert shares(big)["client_network_us"] > 0.5
