"""`flowd status` and `flowd list`, against a fake server over real gRPC."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.wrappers_pb2 import UInt32Value

from flowd.wire.flowd.agent_pb2 import StatusResponse
from flowd.wire.observer.observer_pb2 import Namespace, Node, ServerStatusResponse
from tests.support.cli_runner import Result, run_flowd
from tests.support.fake_hubble import FakeHubble

HOUR = 3_600_000_000_000

Run = Callable[..., Result]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeHubble]]:
    running: list[FakeHubble] = []

    def begin(**fake: Any) -> FakeHubble:
        hubble = FakeHubble(**fake)
        running.append(hubble)
        monkeypatch.setenv("FLOWD_SERVER", hubble.start())
        hubble.status = ServerStatusResponse(
            num_flows=4095,
            max_flows=8190,
            seen_flows=123456,
            uptime_ns=HOUR,
            flows_rate=41.5,
            version="flowd 0.1",
        )
        return hubble

    try:
        yield begin
    finally:
        for hubble in running:
            hubble.stop()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *args: run_flowd(monkeypatch, capsys, *args)


def test_status_of_a_plain_hubble_server(start: Callable[..., FakeHubble], run: Run) -> None:
    hubble = start(with_agent=False)
    hubble.status.num_connected_nodes.CopyFrom(UInt32Value(value=1))
    hubble.status.num_unavailable_nodes.CopyFrom(UInt32Value(value=1))
    hubble.status.unavailable_nodes.append("prod/node-b\x1b")
    code, out, err = run("status")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("Healthcheck (via 127.0.0.1:")
    assert out.splitlines()[0].endswith("): Ok")
    assert out.splitlines()[1:] == [
        "Current/Max Flows: 4,095/8,190 (50.00%)",
        "Flows/s: 41.50",
        "Connected Nodes: 1/2",
        "Unavailable Nodes: 1",
        "  - prod/node-b^[",
        "Uptime: 1h0m0s",
    ]


def test_status_of_an_agent_tells_parts_and_losses(
    start: Callable[..., FakeHubble], run: Run
) -> None:
    hubble = start()
    hubble.agent = ParseDict(
        {
            "version": "0.1.0",
            "node_name": "node-a",
            "cluster_name": "prod",
            "live_connections": 1204,
            "resident_bytes": 64 << 20,
            "cpu_seconds": 3.25,
            "parts": [
                {"part": "capture", "state": "on", "detail": "tcx on 4 interfaces"},
                {"part": "envoy-als", "state": "off"},
            ],
            "losses": [
                {"place": "kernel", "reason": "ring_full", "count": 12000},
                {"place": "queue", "reason": "otlp", "count": 0},
            ],
        },
        StatusResponse(),
    )
    assert run("status").out.splitlines()[3:] == [
        "Uptime: 1h0m0s",
        "Node: prod/node-a, flowd 0.1.0",
        "Connections: 1,204",
        "Memory: 64.0 MiB resident, 3.2 s CPU",
        "Parts:",
        "  capture     on    tcx on 4 interfaces",
        "  envoy-als   off",
        "Lost:",
        "  kernel   ring_full   12,000",
    ]
    answer = json.loads(run("status", "-o", "json").out)
    assert (answer["health"], answer["num_flows"]) == ("SERVING", "4095")
    assert answer["agent"]["losses"][0]["reason"] == "ring_full"


def test_status_as_dict_and_table(start: Callable[..., FakeHubble], run: Run) -> None:
    start()
    assert run("status", "-o", "dict").out.splitlines() == [
        "          NUM FLOWS: 4,095",
        "          MAX FLOWS: 8,190",
        "         SEEN FLOWS: 123,456",
        "   FLOWS PER SECOND: 41.50",
        "             UPTIME: 1h0m0s",
        "NUM CONNECTED NODES: N/A",
        " NUM UNAVAIL. NODES: N/A",
        "            VERSION: flowd 0.1",
    ]
    header, row = run("status", "-o", "table").out.splitlines()
    assert header.startswith(
        "NUM FLOWS   MAX FLOWS   SEEN FLOWS   FLOWS PER SECOND   UPTIME   NUM "
    )
    assert row.startswith("4,095       8,190       123,456      41.50              1h0m0s   N/A ")


def test_rates_without_a_measured_one(start: Callable[..., FakeHubble], run: Run) -> None:
    start().status.flows_rate = 0
    assert "Flows/s: 34.29\n" in run("status").out
    assert "   FLOWS PER SECOND: N/A\n" in run("status", "-o", "dict").out


@pytest.mark.parametrize("form", ["compact", "dict", "table", "json"])
def test_a_server_that_does_not_serve(
    start: Callable[..., FakeHubble], run: Run, form: str
) -> None:
    start(health="NOT_SERVING")
    code, out, _ = run("status", "-o", form)
    assert code == 1
    assert "NOT_SERVING" in out


def test_no_server(start: Callable[..., FakeHubble], run: Run) -> None:
    start().stop()
    for args in (("status",), ("list", "nodes"), ("list", "namespaces")):
        code, out, err = run(*args)
        assert (code, out) == (3, "")
        assert err.startswith("flowd: error: cannot reach 127.0.0.1:")


def test_nodes(start: Callable[..., FakeHubble], run: Run) -> None:
    hubble = start()
    one = Node(
        name="prod/node-a", version="1.19.4", address="10.0.0.3:4244", state="NODE_CONNECTED"
    )
    one.uptime_ns, one.num_flows, one.max_flows, one.seen_flows = HOUR, 4095, 4095, 360000
    one.tls.enabled = True
    two = Node(name="prod/node-b", address="10.0.0.4:4244", state="NODE_UNAVAILABLE")
    hubble.nodes = [two, one]
    wide = run("list", "nodes", "-o", "wide").out.splitlines()
    assert wide == [
        "NAME          STATUS        AGE      FLOWS/S   CURRENT/MAX-FLOWS     VERSION   ADDRESS         TLS",
        "prod/node-a   Connected     1h0m0s   100.00    4095/4095 (100.00%)   1.19.4    10.0.0.3:4244   Enabled",
        "prod/node-b   Unavailable   N/A      N/A       N/A                   N/A       10.0.0.4:4244   N/A",
    ]  # fmt: skip
    short = run("list", "node").out.splitlines()
    assert short == [line[:66].rstrip() for line in wide]
    answer = run("list", "nodes", "-o", "json").out
    assert answer.startswith('[\n  {\n    "name": "prod/node-a"')
    assert [node["state"] for node in json.loads(answer)] == ["NODE_CONNECTED", "NODE_UNAVAILABLE"]


def test_namespaces(start: Callable[..., FakeHubble], run: Run) -> None:
    hubble = start()
    assert run("list", "namespaces").out == "NAMESPACE\n"
    hubble.namespaces = [
        Namespace(namespace="shop", cluster="default"),
        Namespace(namespace="kube-system", cluster="default"),
    ]
    assert run("list", "namespaces", "-o", "wide").out.splitlines() == [
        "NAMESPACE     CLUSTER",
        "kube-system   default",
        "shop          default",
    ]
    assert run("list", "namespace").out == "NAMESPACE\nkube-system\nshop\n"
    assert json.loads(run("list", "namespaces", "-o", "json").out)[1]["namespace"] == "shop"
