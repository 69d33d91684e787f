"""A dropped packet end to end: kernel, flow log, and the setting that excludes it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import can_capture, running
from tests.kernel import traffic
from tests.kernel.net import Cluster

CLOSED = 9

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
        made.add_pod()
        yield made


def flows(cluster: Cluster, folder: Path, *flags: str) -> list[dict[str, Any]]:
    """Flows between the pods of a refused connection, from the complete flow log."""
    client, server = cluster.pods
    log = folder / "flows.log"
    with running(folder / "log", "--flow-log", str(log), *flags, netns=cluster.node) as agent:
        traffic.refused(client, server, CLOSED)
        assert agent.stop() == 0
    assert "Traceback" not in agent.text()
    every = [json.loads(line)["flow"] for line in log.read_text().splitlines()]
    ends = {client.address, server.address}
    return [f for f in every if {f["IP"].get("source"), f["IP"].get("destination")} == ends]


def test_refused_connection_is_a_dropped_flow(cluster: Cluster, tmp_path: Path) -> None:
    found = flows(cluster, tmp_path)
    (dropped,) = [flow for flow in found if flow["verdict"] == "DROPPED"]
    assert dropped["IP"]["source"] == cluster.pods[0].address
    assert dropped["l4"]["TCP"]["destination_port"] == CLOSED
    assert dropped["event_type"]["type"] == 1
    assert dropped["Summary"] == "TCP Flags: SYN; NO_SOCKET"
    assert [flow for flow in found if flow["verdict"] == "FORWARDED"]


def test_switched_off(cluster: Cluster, tmp_path: Path) -> None:
    found = flows(cluster, tmp_path, "--no-drops")
    assert {flow["verdict"] for flow in found} == {"FORWARDED"}
