"""Rows of TCP sockets: round-trip times, bytes, owners, and how they ended."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from flowd.model.address import pack
from flowd.model.enums import SocketReason, SocketRole
from flowd.model.status import State
from flowd_bpf.attach.cgroup import find_cgroup2
from tests.kernel import traffic
from tests.kernel.net import Cluster, Pod, inside, run
from tests.kernel.recorder import recording
from tests.kernel.socket_recorder import Reported, cookie

pytestmark = pytest.mark.usefixtures("compiled_once")


def command() -> str:
    """Command name of this process; its threads share it."""
    return Path("/proc/self/comm").read_text().strip()


def set_retries(pod: Pod, count: int) -> None:
    """Set the number of SYN retransmissions in a pod."""
    with inside(pod.namespace), open("/proc/sys/net/ipv4/tcp_syn_retries", "w") as file:
        file.write(str(count))


def exchange(
    client: Pod, server: Pod, family: socket.AddressFamily, sent: int, answered: int
) -> tuple[int, int, int]:
    """Run one connection; returns the cookies of both sockets and the client's port."""
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
        assert 0 < row["min_rtt_us"] < 20_000_000
        assert row["pid"] == os.getpid()
        assert row["cgroup"] > 0
        assert recorder.directory.processes[int(row["process"])].command == command()
        assert row["family"] == (4 if family == socket.AF_INET else 6)
        assert row["error"] == 0
    assert (ended["bytes_acked"], ended["bytes_received"]) == (123_456, 45_678)
    assert (left["bytes_acked"], left["bytes_received"]) == (45_678, 123_456)
    assert (ended["local_port"], left["remote_port"]) == (port, port)
    assert ended["remote_port"] == left["local_port"]
    assert bytes(ended["local_addr"]) == bytes(left["remote_addr"]) == pack(client.at(family))
    assert bytes(ended["remote_addr"]) == bytes(left["local_addr"]) == pack(server.at(family))
    assert began["time_ns"] <= ended["time_ns"]


TOTAL_RETRANS = 100  # offset in struct tcp_info, include/uapi/linux/tcp.h
UID = "1d4c7f10-2f3a-4b5c-8d6e-9fa0b1c2d3e4"
CONTAINER = "4f0c9ab2" * 8


def nft(pod: Pod, hook: str, rule: str) -> None:
    """Add an nftables rule in a pod."""
    text = f"table inet sockets {{ chain c {{ type filter hook {hook} priority 0; {rule}; }}; }}"
    run("ip", "netns", "exec", pod.namespace, "nft", "-f", "-", stdin=text)


def attempt(client: Pod, address: str, port: int, family: int = socket.AF_INET) -> tuple[int, int]:
    """Connect, expecting failure; returns the errno and the socket's cookie."""
    with client.socket(family, socket.SOCK_STREAM) as peer:
        peer.settimeout(None)
        return peer.connect_ex((address, port)), cookie(peer)


@contextlib.contextmanager
def connected(client: Pod, server: Pod) -> Generator[tuple[socket.socket, socket.socket]]:
    """Both ends of an established connection."""
    with server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((server.address, 0))
        listener.listen()
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
            peer.connect((server.address, listener.getsockname()[1]))
            accepted, _ = listener.accept()
            accepted.settimeout(20)
            with accepted:
                yield peer, accepted


async def test_ipv4_over_an_ipv6_socket(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        with server.socket(socket.AF_INET6, socket.SOCK_STREAM) as listener:
            listener.bind(("::", 0))
            listener.listen()
            with client.socket(socket.AF_INET6, socket.SOCK_STREAM) as peer:
                where = f"::ffff:{server.address}", listener.getsockname()[1]
                await asyncio.to_thread(peer.connect, where)
                accepted, _ = await asyncio.to_thread(listener.accept)
                with accepted:
                    ids = cookie(peer), cookie(accepted)
                    (ours,) = await reported.until(ids[0], SocketReason.ESTABLISHED)
                    (theirs,) = await reported.until(ids[1], SocketReason.ESTABLISHED)
    assert ours["family"] == theirs["family"] == 4
    assert ours["connect_ns"] > 0
    assert ours["pid"] == theirs["pid"] == os.getpid()
    assert bytes(ours["remote_addr"]) == bytes(theirs["local_addr"]) == pack(server.address)


@pytest.mark.parametrize("family", traffic.FAMILIES)
async def test_refused(cluster: Cluster, family: socket.AddressFamily) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        error, number = await asyncio.to_thread(attempt, client, server.at(family), 9, family)
        (row,) = await reported.until(number, SocketReason.FAILED)
        rows = reported.rows(number)
    assert row["error"] == error == errno.ECONNREFUSED
    assert len(rows) == 1
    assert (row["remote_port"], row["role"]) == (9, SocketRole.CONNECTED)
    assert bytes(row["remote_addr"]) == pack(server.at(family))
    assert row["pid"] == os.getpid()


async def test_timed_out_with_its_retransmissions(cluster: Cluster) -> None:
    client, server = cluster.pods
    nft(server, "input", "tcp dport 9 drop")
    set_retries(client, 1)
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        error, number = await asyncio.to_thread(attempt, client, server.address, 9)
        (row,) = await reported.until(number, SocketReason.FAILED)
        again = reported.rows(number, SocketReason.RETRANSMIT)
    assert row["error"] == error == errno.ETIMEDOUT
    assert row["retransmits"] == again["retransmits"].sum() >= 1


async def test_given_up_without_an_answer(cluster: Cluster) -> None:
    client, server = cluster.pods
    nft(server, "input", "tcp dport 9 drop")
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        with client.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
            peer.setblocking(False)
            assert peer.connect_ex((server.address, 9)) == errno.EINPROGRESS
            number = cookie(peer)
        (row,) = await reported.until(number, SocketReason.FAILED)
    assert row["error"] == 0


async def test_reset_by_one_and_received_by_the_other(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        with connected(client, server) as (peer, accepted):
            ids = cookie(peer), cookie(accepted)
            peer.sendall(bytes(1000))
            await asyncio.to_thread(traffic.receive, accepted, 1000)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            (sent,) = await reported.until(ids[0], SocketReason.RESET_SENT)
            (received,) = await reported.until(ids[1], SocketReason.RESET_RECEIVED)
            (ended,) = await reported.until(ids[1], SocketReason.CLOSED)
    assert sent["remote_port"] == received["local_port"]
    assert ended["bytes_received"] == 1000
    assert not len(reported.rows(ids[0], SocketReason.RESET_RECEIVED))


async def test_retransmissions_are_those_of_the_socket_itself(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        with connected(client, server) as (peer, accepted):
            number, size = cookie(peer), 400_000
            nft(server, "input", "tcp dport != 0 numgen inc mod 20 == 7 drop")
            reading = asyncio.create_task(asyncio.to_thread(traffic.receive, accepted, size))
            await asyncio.to_thread(peer.sendall, bytes(size))
            await reading
            accepted.sendall(b"x")  # the client's data in flight arrives before its close
            await asyncio.to_thread(traffic.receive, peer, 1)
            run("ip", "netns", "exec", server.namespace, "nft", "flush", "ruleset")
            info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            before = struct.unpack_from("I", info, TOTAL_RETRANS)[0]
            peer.close()
            (ended,) = await reported.until(number, SocketReason.CLOSED)
        rows = reported.rows(number, SocketReason.RETRANSMIT)
    assert before > 0
    # Only retransmissions between the read and the close can add to it.
    assert before <= ended["retransmits"] <= before + 2
    assert rows["retransmits"].sum() == ended["retransmits"]
    assert 0 < len(rows) <= ended["retransmits"]
    assert ended["bytes_acked"] == size


async def test_socket_in_use_is_reported_now_and_then(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(sockets=True, active_seconds=0.1) as recorder:
        reported = Reported(recorder)
        with connected(client, server) as (peer, accepted):
            number, sent = cookie(peer), 0
            async with asyncio.timeout(30):
                while len(reported.rows(number, SocketReason.UPDATE)) < 2:
                    peer.sendall(bytes(100))
                    await asyncio.to_thread(traffic.receive, accepted, 100)
                    sent += 100
                    await asyncio.sleep(0.02)
        (ended,) = await reported.until(number, SocketReason.CLOSED)
    updates = reported.rows(number, SocketReason.UPDATE)
    assert 0 < updates["bytes_acked"][0] < updates["bytes_acked"][1] <= sent
    assert (updates["srtt_us"] > 0).all()
    assert ended["bytes_acked"] == sent


async def test_bytes_of_a_half_closed_connection(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        with connected(client, server) as (peer, accepted):
            ids = cookie(peer), cookie(accepted)
            peer.sendall(bytes(10))
            peer.shutdown(socket.SHUT_WR)
            await asyncio.to_thread(traffic.receive, accepted, 10)
            assert accepted.recv(1) == b""
            accepted.sendall(bytes(70_000))
            await asyncio.to_thread(traffic.receive, peer, 70_000)
            accepted.close()
            assert await asyncio.to_thread(peer.recv, 1) == b""
            peer.close()
            (ours,) = await reported.until(ids[0], SocketReason.CLOSED)
            (theirs,) = await reported.until(ids[1], SocketReason.CLOSED)
    assert (ours["bytes_acked"], ours["bytes_received"]) == (10, 70_000)
    assert (theirs["bytes_acked"], theirs["bytes_received"]) == (70_000, 10)


@pytest.fixture
def pod_cgroup() -> Iterator[Path]:
    """Create a cgroup with the name of a kubelet container's; remove it afterwards."""
    mount, _ = find_cgroup2()
    top = mount / f"fsk{os.getpid()}"
    made = top / "kubepods" / f"pod{UID}" / CONTAINER
    made.mkdir(parents=True)
    try:
        yield made
    finally:
        for folder in (made, made.parent, made.parent.parent, top):
            folder.rmdir()


SHOPPER = """
import socket, struct, sys, os
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
open("/proc/self/comm", "w").write("shopper")
with socket.socket() as peer:
    peer.connect((sys.argv[2], int(sys.argv[3])))
    print(struct.unpack("Q", peer.getsockopt(socket.SOL_SOCKET, 57, 8))[0], flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def shopper(pod: Pod, cgroup: Path, address: str, port: int) -> Generator[tuple[int, int]]:
    """Run a process in a pod and cgroup with one connection; gives its pid and socket cookie."""
    with inside(pod.namespace):
        process = subprocess.Popen(
            [sys.executable, "-c", SHOPPER, str(cgroup), address, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


async def test_owner_in_a_pod(cluster: Cluster, pod_cgroup: Path) -> None:
    client, server = cluster.pods
    async with recording(sockets=True) as recorder:
        reported = Reported(recorder)
        with server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((server.address, 0))
            listener.listen()
            port = listener.getsockname()[1]
            with shopper(client, pod_cgroup, server.address, port) as (pid, number):
                (row,) = await reported.until(number, SocketReason.ESTABLISHED)
        owner = recorder.directory.processes[int(row["process"])]
    assert row["pid"] == pid
    assert row["cgroup"] == owner.cgroup == os.stat(pod_cgroup).st_ino
    assert (owner.command, owner.container_id, owner.pod_uid) == ("shopper", CONTAINER, UID)


async def test_switched_off(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        status = recorder.capture.status()[2]
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        assert (status.part, status.state) == ("sockets", State.OFF)
        assert "setting `sockets`" in status.detail
        assert not len(recorder.capture.take_sockets())
