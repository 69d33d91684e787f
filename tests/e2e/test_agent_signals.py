"""End of the agent: SIGTERM flushes everything, SIGKILL leaves nothing behind."""

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agent import can_capture, running
from tests.kernel import traffic
from tests.kernel.net import Cluster, run
from tests.kernel.recorder import eventually

CONNECTIONS = 40

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(bool(can_capture()), reason=f"no kernel capture: {can_capture()}"),
    pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as made:
        made.add_pod()
        made.add_pod()
        yield made


def programs() -> set[int]:
    """Ids of the BPF programs of all flowd agents on the machine."""
    listed = json.loads(run("bpftool", "-j", "prog", "show"))
    return {p["id"] for p in listed if p.get("name", "").startswith("flowd_")}


def test_sigterm_flushes_every_exporter(cluster: Cluster, tmp_path: Path) -> None:
    client, server = cluster.pods
    log = tmp_path / "flows.log"
    with running(tmp_path / "log", "--flow-log", str(log), netns=cluster.node) as agent:
        traffic.tcp(client, server, CONNECTIONS, 1000)
        assert agent.stop(signal.SIGTERM) == 0
    assert "Traceback" not in agent.text()
    flows = [json.loads(line)["flow"] for line in log.read_text().splitlines()]
    seen = [f for f in flows if f["verdict"] == "FORWARDED" and "TCP" in f["l4"]]
    ports = {f["l4"]["TCP"]["source_port"] for f in seen if not f["is_reply"]}
    assert len(ports) == CONNECTIONS


def test_sigint_is_a_normal_end_too(cluster: Cluster, tmp_path: Path) -> None:
    with running(tmp_path / "log", netns=cluster.node) as agent:
        assert agent.stop(signal.SIGINT) == 0


def test_sigkill_leaves_nothing_and_disturbs_nobody(cluster: Cluster, tmp_path: Path) -> None:
    client, server = cluster.pods
    before = programs()
    with running(tmp_path / "log", netns=cluster.node) as agent:
        ours = programs() - before
        assert ours
        listener = server.socket(socket.AF_INET, socket.SOCK_STREAM)
        sender = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        with listener, sender:
            listener.bind((server.address, 7777))
            listener.listen()
            sender.connect((server.address, 7777))
            receiver, _ = listener.accept()
            with receiver:
                sender.sendall(b"before")
                assert receiver.recv(100) == b"before"
                assert agent.stop(signal.SIGKILL) == -signal.SIGKILL
                sender.sendall(b"after")
                assert receiver.recv(100) == b"after"
    # The kernel releases the programs of a cgroup in a work queue
    asyncio.run(eventually(lambda: not ours & programs()))
    for pod in cluster.pods:
        for side in ("ingress", "egress"):
            shown = run(
                "ip", "netns", "exec", cluster.node, "tc", "filter", "show", "dev", pod.veth, side
            )
            assert "flowd" not in shown
    with running(tmp_path / "again", netns=cluster.node) as agent:
        assert agent.stop() == 0
