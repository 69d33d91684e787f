"""TCP sockets: round trips, bytes, owners, and how they ended."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from flowd.model.address import pack
from flowd.model.enums import SocketReason, SocketRole
from flowd.model.status import State
from tests.kernel import traffic
from tests.kernel.net import Cluster, Pod
from tests.kernel.recorder import recording
from tests.kernel.socket_recorder import Reported, cookie


def exchange(
    client: Pod, server: Pod, family: socket.AddressFamily, sent: int, answered: int
) -> tuple[int, int, int]:
    """One connection: the cookies of both sockets, and the client's port."""
    address = server.at(family)
    with server.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen()
        with client.socket(family, socket.SOCK_STREAM) as peer:
            peer.connect((address, listener.getsockname()[1]))
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(20)
                peer.sendall(bytes(sent))
                traffic.receive(accepted, sent)
                accepted.sendall(bytes(answered))
                traffic.receive(peer, answered)
                ids = cookie(peer), cookie(accepted), peer.getsockname()[1]
                peer.close()
                assert accepted.recv(1) == b""
    return ids


@pytest.mark.parametrize("family", traffic.FAMILIES)
async def test_both_ends_of_a_connection(cluster: Cluster, family: socket.AddressFamily) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        assert recorder.capture.status()[2].state is State.ON
        reported = Reported(recorder)
        ours, theirs, port = await asyncio.to_thread(
            exchange, client, server, family, 123_456, 45_678
        )
        (began,) = await reported.until(ours, SocketReason.ESTABLISHED)
        (taken,) = await reported.until(theirs, SocketReason.ESTABLISHED)
        (ended,) = await reported.until(ours, SocketReason.CLOSED)
        (left,) = await reported.until(theirs, SocketReason.CLOSED)
    assert began["role"] == SocketRole.CONNECTED
    assert taken["role"] == SocketRole.ACCEPTED
    assert began["connect_ns"] > 0
    assert taken["connect_ns"] == 0
    for row in (began, taken, ended, left):
        assert row["srtt_us"] > 0
        assert 0 < row["min_rtt_us"] <= ended["time_ns"] // 1000
        assert row["pid"] == os.getpid()
        assert row["cgroup"] > 0
        comm = Path("/proc/thread-self/comm").read_text().strip()
        assert recorder.directory.processes[int(row["process"])].command[:4] == comm[:4]
        assert row["family"] == (4 if family == socket.AF_INET else 6)
        assert row["error"] == 0
    assert (ended["bytes_acked"], ended["bytes_received"]) == (123_456, 45_678)
    assert (left["bytes_acked"], left["bytes_received"]) == (45_678, 123_456)
    assert (ended["local_port"], left["remote_port"]) == (port, port)
    assert ended["remote_port"] == left["local_port"]
    assert bytes(ended["local_addr"]) == bytes(left["remote_addr"]) == pack(client.at(family))
    assert bytes(ended["remote_addr"]) == bytes(left["local_addr"]) == pack(server.at(family))
    assert began["time_ns"] <= ended["time_ns"]
