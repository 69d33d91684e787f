"""Address reuse: another pod takes over an address within a moment, with the same ports."""

import asyncio
import socket
import struct
from collections import Counter

import numpy as np

from flowd.model.address import pack
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import Protocol, Reason
from tests.kernel import traffic
from tests.kernel.net import Cluster, Pod, run
from tests.kernel.recorder import consistent, ended, recording

NUMBER, SOURCE_PORT = 77, 40_000


def datagrams(client: Pod, server: Pod, count: int) -> None:
    """Exchange `count` datagrams each way, always with the same ports."""
    with (
        server.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        answering.bind((server.address, traffic.PORT))
        asking.bind((client.address, SOURCE_PORT))
        for _ in range(count):
            asking.sendto(bytes(100), (server.address, traffic.PORT))
            data, peer = answering.recvfrom(200)
            answering.sendto(data, peer)
            asking.recv(200)


def unfinished_stream(client: Pod, server: Pod, size: int) -> None:
    """A TCP connection, always with the same ports, whose close never reaches the client."""
    with server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((server.address, traffic.PORT))
        listener.listen()
        peer = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        accepted: socket.socket | None = None
        try:
            peer.bind((client.address, SOURCE_PORT))
            peer.connect((server.address, traffic.PORT))
            accepted, _ = listener.accept()
            accepted.settimeout(20)
            peer.sendall(bytes(size))
            traffic.receive(accepted, size)
            for end, other in ((client, server), (server, client)):
                _unplug(end, other)
        finally:
            for one in filter(None, (accepted, peer)):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.close()


def _unplug(pod: Pod, other: Pod) -> None:
    """Stop all packets from one pod to the other."""
    text = f"table ip cut {{ chain out {{ type filter hook output priority 0; ip daddr {other.address} drop; }}; }}"
    run("ip", "netns", "exec", pod.namespace, "nft", "-f", "-", stdin=text)


def _plug(pod: Pod) -> None:
    run("ip", "netns", "exec", pod.namespace, "nft", "delete", "table", "ip", "cut")


async def test_each_pod_has_its_own_flows_whatever_it_shares(cluster: Cluster) -> None:
    server = cluster.pods[0]
    sent: dict[int, tuple[int, int]] = {}
    async with recording(interfaces=["veth*"]) as recorder:
        index = recorder.directory.endpoints.index
        known = {pack(server.address): index(Endpoint(EndpointKind.POD, 300, "team", "server"))}
        recorder.capture.change_endpoints(known)
        for turn in range(4):
            pod = cluster.add_pod(NUMBER)
            mine = index(Endpoint(EndpointKind.POD, 301, "team", f"job-{turn}"))
            recorder.capture.change_endpoints({pack(pod.address): mine})
            await recorder.interfaces(3)  # so that a bridge's flooding is not seen first
            before = pod.counts()
            await asyncio.to_thread(datagrams, pod, server, 3 + turn)
            await asyncio.to_thread(unfinished_stream, pod, server, 1000 * (turn + 1))
            passed = pod.counts() - before
            sent[mine] = passed.rx_packets, passed.rx_bytes
            cluster.remove_pod(pod)
            await recorder.interfaces(2)
            recorder.capture.change_endpoints({pack(pod.address): 0})
            _plug(server)
        await recorder.until(ended(3 * 2))
    rows = recorder.rows()
    rows = rows[(rows["src_addr"] == np.frombuffer(pack(f"10.244.0.{NUMBER}"), "u1")).all(axis=1)]
    consistent(rows)
    assert set(rows["src_endpoint"]) == set(sent)
    assert set(rows["src_port"]) == {SOURCE_PORT}
    for mine, (packets, size) in sent.items():
        own = rows[rows["src_endpoint"] == mine]
        assert (int(own["packets_fwd"].sum()), int(own["bytes_fwd"].sum())) == (packets, size)
        assert len(np.unique(own["conn_id"])) == 2
        assert set(own["protocol"]) == {Protocol.TCP, Protocol.UDP}
        assert Counter(own["reason"])[Reason.NEW] == 2
