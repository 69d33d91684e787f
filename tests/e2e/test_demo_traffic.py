"""Demo with a real Envoy: every request reaches its expected backend, and nothing is left behind."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import Demo, DemoError, NetworkError, SentRequest
from demo.cluster.topology import HTTP_PORT, PODS
from demo.lifecycle import envoy_binary

COUNT = 300

pytestmark = pytest.mark.envoy


@pytest.fixture(params=["loopback", "namespaces"])
def demo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Demo]:
    loopback = request.param == "loopback"
    if not loopback and os.geteuid():
        pytest.skip("network namespaces need root")
    try:
        envoy_binary()
    except DemoError as error:
        pytest.skip(error.message)
    made = Demo(tmp_path / "de mo", loopback=loopback, record=True)
    try:
        try:
            made.start()
        except NetworkError as error:
            pytest.skip(f"network namespaces: {error.message}")
        yield made
    finally:
        made.stop()


def eventually(look: Callable[[], int], wanted: int) -> int:
    """Poll `look` until it returns the wanted value or time is up; returns its last value."""
    deadline = time.monotonic() + 10
    while (found := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def log_lines(demo: Demo) -> list[dict[str, Any]]:
    text = demo.access_log.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def envoys_name(sent: SentRequest) -> str | None:
    """Expected route name in Envoy's access log."""
    route = sent.route
    if route is None or sent.listener == "tls":
        return None
    host = sent.host.partition(":")[0].replace(".", "_")
    return f"httproute/{route.namespace}/{route.name}/rule/{route.rule}/match/{route.match}/{host}"


def test_every_request_ends_where_the_manifests_say(demo: Demo):
    sent = demo.run_traffic(COUNT)
    seen = {each.seq: each for each in demo.seen()}
    assert [each.seq for each in sent] == list(range(1, COUNT + 1))
    assert sorted(demo.sent(), key=lambda each: each.seq) == sent
    services = {f"{pod.namespace}/{pod.name}": (pod.namespace, pod.app) for pod in PODS}
    for each in sent:
        assert (each.status, each.error if each.status else "") == (each.expected_status, ""), each
        if each.by_gateway:
            assert each.backend == ""
        else:
            assert services[each.backend] in each.backends, each
            assert seen[each.seq].request_id == each.request_id
            assert each.backend == f"{seen[each.seq].namespace}/{seen[each.seq].pod}"
    reached = {each.seq for each in sent if not each.by_gateway or each.kind == "timeout"}
    assert seen.keys() == reached
    assert len(demo.seen()) == len(seen), "a request reached a backend twice"
    added = [seen[each.seq].headers.get("my-header") for each in sent if each.kind == "header-add"]
    assert set(added) == {"added-by-route"}


def test_access_log_names_the_routes(demo: Demo):
    sent = demo.run_traffic(COUNT)
    assert eventually(lambda: len(log_lines(demo)), COUNT) == COUNT
    logged = log_lines(demo)
    assert Counter(
        (line[":authority"], line["x-envoy-origin-path"], line["method"], line["route_name"],
         line["response_code"])
        for line in logged
        if line["method"]
    ) == Counter(
        (each.host, each.path, each.method, envoys_name(each), each.status)
        for each in sent
        if each.listener != "tls"
    )  # fmt: skip
    connections = Counter(
        (line["requested_server_name"], line["upstream_cluster"], line["response_flags"])
        for line in logged
        if not line["method"]
    )
    passed, unknown = (
        sum(each.kind == kind for each in sent) for kind in ("passthrough", "sni-unknown")
    )
    assert connections == {
        ("pass.example", "tlsroute/default/passthrough/rule/-1", "-"): passed,
        ("nowhere.example", None, "NR"): unknown,
    }


def test_sockets_in_the_log_are_those_of_client_and_backend(demo: Demo):
    sent = {each.request_id: each for each in demo.run_traffic(COUNT) if each.request_id}
    by_id = {each.request_id: each for each in demo.seen()}
    assert eventually(lambda: len(log_lines(demo)), COUNT) == COUNT
    joined = 0
    for line in log_lines(demo):
        each = sent.get(line["x-request-id"])
        if each is None or each.listener == "tls":
            continue
        seen = by_id[each.request_id]
        assert line["downstream_remote_address"] == join(each.client, each.client_port)
        assert line["downstream_local_address"] == join(each.server, each.server_port)
        assert line["upstream_local_address"] == join(seen.peer, seen.peer_port)
        assert line["upstream_host"] == join(seen.local, HTTP_PORT)
        joined += 1
    assert joined == sum(1 for each in sent.values() if each.listener != "tls")
    families = {":" in each.client for each in sent.values()}
    assert families == ({False} if demo.topology.loopback else {False, True})


def join(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def test_down_leaves_nothing(demo: Demo):
    state, topology = demo.state, demo.topology
    demo.run_traffic(20)
    demo.stop()
    demo.stop()
    assert not demo.directory.exists()
    assert state.running() == []
    left = links() | namespaces()
    assert not left & {topology.bridge, *map(topology.link, PODS), *map(topology.netns, PODS)}


def test_start_after_a_crash_cleans_up_first(demo: Demo):
    before = demo.state
    for process in before.processes:
        os.kill(process.pid, signal.SIGKILL)
    again = Demo(demo.directory, loopback=before.loopback, record=True)
    with again:
        assert again.state.healthy()
        assert again.state.instance == before.instance, "the old network was not reused"
        assert all(each.status == each.expected_status for each in again.run_traffic(20))
    assert not again.directory.exists()


def test_two_demos_do_not_meet(demo: Demo, tmp_path: Path):
    with Demo(tmp_path / "other", loopback=demo.topology.loopback, record=True) as other:
        assert other.gateway_address != demo.gateway_address
        assert all(each.status == each.expected_status for each in other.run_traffic(50))
        assert demo.seen() == []
    assert demo.state.healthy()


def test_steady_client_keeps_sending(tmp_path: Path):
    with Demo(tmp_path / "demo", loopback=True, record=True, rate=200) as demo:
        assert eventually(lambda: min(len(demo.sent()), 100), 100) == 100
        assert len(demo.state.processes) == 3


def test_client_waits_no_longer_than_the_gateway_lives(tmp_path: Path):
    with Demo(tmp_path / "demo", loopback=True) as demo:
        envoy = next(each for each in demo.state.processes if each.name == "envoy")
        os.kill(envoy.pid, signal.SIGKILL)
        assert eventually(lambda: envoy.alive(), 0) == 0
        assert all(each.status == 0 and each.error for each in demo.run_traffic(20))
        assert not demo.state.healthy()


def links() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def namespaces() -> set[str]:
    if not os.path.isdir("/run/netns"):
        return set()
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines()}
