"""`flowd observe agent-events` and `debug-events`, `flowd watch peers`, as hubble prints them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from flowd.wire.observer.observer_pb2 import GetAgentEventsResponse, GetDebugEventsResponse
from flowd.wire.peer.peer_pb2 import ChangeNotification
from tests.support.cli_runner import Result, run_flowd
from tests.support.fake_hubble import FakeHubble

GOLDEN = Path(__file__).parents[2] / "golden" / "observe"
Run = Callable[..., Result]

AGENT: list[dict[str, Any]] = [
    {"type": "AGENT_STARTED", "agent_start": {"time": "2026-11-20T23:53:20Z"}},
    {
        "type": "POLICY_UPDATED",
        "policy_update": {"labels": ["a", "b"], "revision": "3", "rule_count": "1"},
    },
    {
        "type": "ENDPOINT_CREATED",
        "endpoint_update": {"id": "7", "namespace": "pay", "pod_name": "ledger-\x1b0"},
    },
    {"type": "ENDPOINT_DELETED", "endpoint_update": {"id": "7"}},
    {
        "type": "ENDPOINT_REGENERATE_FAILURE",
        "endpoint_regenerate": {"id": "7", "labels": ["a", "b"], "error": "e"},
    },
    {
        "type": "IPCACHE_UPSERTED",
        "ipcache_update": {
            "cidr": "10.0.0.0/8",
            "identity": 2,
            "old_identity": 1,
            "host_ip": "192.0.2.1",
            "old_host_ip": "192.0.2.2",
        },
    },
    {
        "type": "SERVICE_UPSERTED",
        "service_upsert": {
            "id": 4,
            "frontend_address": {"ip": "10.96.0.1", "port": 80},
            "backend_addresses": [{"ip": "10.1.0.1", "port": 8080}],
            "type": "ClusterIP",
            "name": "cart",
            "namespace": "shop",
        },
    },
    {"type": "SERVICE_DELETED", "service_delete": {"id": 4}},
    {"unknown": {"type": "3", "notification": "n"}},
    {"type": "AGENT_STARTED"},
]
DEBUG: list[dict[str, Any]] = [
    {
        "type": "DBG_CT_LOOKUP",
        "source": {"ID": 5, "namespace": "pay", "pod_name": "ledger-0"},
        "hash": 12,
        "message": "hello",
        "cpu": 3,
    },
    {"type": "DBG_GENERIC"},
]


@pytest.fixture
def hubble(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHubble]:
    fake = FakeHubble()
    node = {"node_name": "prod/node-a"}
    fake.agent_events = [
        ParseDict({"agent_event": event, "time": f"2026-11-21T09:15:0{i}Z"} | node, _agent())
        for i, event in enumerate(AGENT)
    ]
    try:
        monkeypatch.setenv("FLOWD_SERVER", fake.start())
        yield fake
    finally:
        fake.stop()


def _agent() -> GetAgentEventsResponse:
    return GetAgentEventsResponse()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *args: run_flowd(monkeypatch, capsys, *args)


@pytest.mark.parametrize("form", ["compact", "dict", "table"])
def test_agent_events(hubble: FakeHubble, run: Run, form: str) -> None:
    code, out, err = run("observe", "agent-events", "-o", form, "--print-node-name")
    assert (code, err) == (0, "")
    assert out == (GOLDEN / f"agent-events-{form}.txt").read_text()


def test_agent_events_as_json_and_their_request(hubble: FakeHubble, run: Run) -> None:
    _, out, _ = run("observe", "agent-events", "-o", "json", "--last", "3", "--since", "1h")
    events = [json.loads(line) for line in out.splitlines()]
    assert events[3]["agent_event"] == AGENT[3]
    request = hubble.requests[-1]
    assert (request.number, request.follow, request.HasField("since")) == (3, False, True)
    run("observe", "agent-events")
    assert hubble.requests[-1].number == 20


def test_debug_events_are_what_the_server_says(hubble: FakeHubble, run: Run) -> None:
    refused = run("observe", "debug-events")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.endswith(
        "does not offer observer.Observer/GetDebugEvents (no debug events here)\n"
    )
    hubble.debug_events = [
        ParseDict({"debug_event": event, "time": "2026-11-21T09:15:01Z"}, GetDebugEventsResponse())
        for event in DEBUG
    ]
    assert run("observe", "debug-events").out.splitlines() == [
        "Nov 21 09:15:01.000: pay/ledger-0 (ID: 5) DBG_CT_LOOKUP MARK: 0xc CPU: 03 (hello)",
        "Nov 21 09:15:01.000: N/A DBG_GENERIC MARK: N/A CPU: N/A ()",
    ]
    table = run("observe", "debug-events", "-o", "table").out.splitlines()
    assert table[0].split() == ["TIMESTAMP", "FROM", "TYPE", "CPU/MARK", "MESSAGE"]
    assert "    MESSAGE: hello\n" in run("observe", "debug-events", "-o", "dict").out


def test_peers(hubble: FakeHubble, run: Run) -> None:
    tls = {"server_name": "node-a.default.hubble-grpc.cilium.io"}
    hubble.peers = [
        ParseDict(change, ChangeNotification())
        for change in (
            {"type": "PEER_ADDED", "address": "10.0.0.3:4244", "name": "node-a", "tls": tls},
            {"type": "PEER_DELETED", "address": "10.0.0.4:4244", "name": "node-b\x1b"},
        )
    ]
    code, out, err = run("watch", "peers")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"PEER_ADDED   10.0.0.3:4244 node-a (TLS.ServerName: {tls['server_name']})",
        "PEER_DELETED 10.0.0.4:4244 node-b^[",
    ]
    assert json.loads(run("watch", "peer", "-o", "json").out.splitlines()[0])["tls"] == tls
