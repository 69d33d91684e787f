"""Interfaces and processes come and go: our attachments vanish, those of others stay."""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Generator

import numpy as np
import pytest

from flowd.model.address import pack, unpack
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd.model.enums import Protocol, Reason
from flowd.model.status import State
from flowd_bpf import libbpf
from flowd_bpf.attach.attacher import AttachMode
from flowd_bpf.attach.cgroup import find_cgroup2
from flowd_bpf.attach.interfaces import Interface, LinkWatch
from tests.kernel import traffic
from tests.kernel.kernelhas import MODES, needs_tcx
from tests.kernel.net import Cluster, Pod, run
from tests.kernel.packets import datagram, ipv4
from tests.kernel.recorder import consistent, ended, eventually, recording

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000


def our_programs() -> set[int]:
    """Ids of all flowd programs in the kernel, including those of other agents on the machine."""
    listed = json.loads(run("bpftool", "-j", "prog", "show"))
    return {p["id"] for p in listed if p.get("name", "").startswith("flowd_")}


def cgroup_programs() -> set[int]:
    """Ids of the programs attached to the root of cgroup2."""
    mount, _ = find_cgroup2()
    listed = json.loads(run("bpftool", "-j", "cgroup", "show", str(mount)).strip() or "[]")
    return {int(program["id"]) for program in listed}


def filters(pod: Pod) -> str:
    """Output of `tc filter show` for a pod's veth, in its node."""
    return "".join(
        run("tc", *words, "dev", pod.veth, *side)
        for words, side in (
            (("qdisc", "show"), ()),
            (("filter", "show"), ("ingress",)),
            (("filter", "show"), ("egress",)),
        )
    )


TCX_NEXT, TC_DROP = -1, 2


def tc_program(verdict: int) -> int:
    """Load a foreign program that returns one verdict; returns its descriptor."""
    code = b"\xb7\0\0\0" + verdict.to_bytes(4, "little", signed=True) + b"\x95" + bytes(7)
    load = ctypes.CDLL(libbpf.LIBRARY).bpf_prog_load
    fd: int = load(3, b"foreign", b"GPL", code, ctypes.c_size_t(2), None)
    assert fd >= 0
    return fd


def number(program: int) -> int:
    """A program's id (struct bpf_prog_info)."""
    info, size = ctypes.create_string_buffer(232), ctypes.c_uint32(232)
    assert libbpf.library().bpf_obj_get_info_by_fd(program, info, ctypes.byref(size)) == 0
    return int.from_bytes(info.raw[4:8], sys.byteorder)


def attached_to(index: int) -> list[int]:
    """Ids of the programs at an interface's ingress, in run order."""
    ids, count = (ctypes.c_uint32 * 16)(), ctypes.c_uint32(16)
    query = libbpf.library().bpf_prog_query
    assert query(index, libbpf.BPF_TCX_INGRESS, 0, None, ids, ctypes.byref(count)) == 0
    return list(ids)[: count.value]


def interfaces() -> list[Interface]:
    """Interfaces of this thread's namespace."""
    watch = LinkWatch()
    try:
        return watch.poll()[0]
    finally:
        watch.close()


@contextlib.contextmanager
def victim(mode: AttachMode) -> Generator["subprocess.Popen[str]"]:
    """A capturing process in this thread's namespace."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kernel.victim", mode], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_interfaces_come_and_go(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(interfaces=["veth*", f"!{server.veth}"]) as recorder:
        await recorder.interfaces(1)
        late = await asyncio.to_thread(cluster.add_pod)
        await recorder.interfaces(2)
        before = late.counts()
        await asyncio.to_thread(traffic.tcp, late, server, 3, 1000)
        await recorder.until(ended(3))
        counted = late.counts() - before
        await asyncio.to_thread(cluster.remove_pod, late)
        await recorder.interfaces(1)
        await asyncio.to_thread(traffic.tcp, client, server, 1, 1000)
        await recorder.until(ended(4))
        assert recorder.capture.status()[0].state is State.ON
    rows = recorder.rows()
    consistent(rows)
    of_late = rows[(rows["src_addr"] == np.frombuffer(pack(late.address), "u1")).all(axis=1)]
    assert int(of_late["bytes_fwd"].sum()) == counted.rx_bytes
    assert {recorder.directory.interfaces[index] for index in of_late["ifindex"]} == {late.veth}


@pytest.mark.parametrize("mode", MODES)
async def test_sigkill_leaves_nothing_behind(cluster: Cluster, mode: AttachMode) -> None:
    client, server = cluster.pods
    before = our_programs()
    with victim(mode) as process:
        ours = our_programs() - before
        assert len(ours) >= 12
        on_cgroup = cgroup_programs() & ours
        assert len(on_cgroup) == 5
        await asyncio.to_thread(traffic.tcp, client, server, 2)
        process.kill()
        process.wait()
    await asyncio.to_thread(traffic.tcp, client, server, 2)
    if mode == "clsact":  # filters stay until the next start removes them
        assert "flowd" in filters(client)
        async with recording(attach=mode) as recorder:
            pass
        assert "flowd" not in filters(client)
    await eventually(lambda: not ours & our_programs())
    await eventually(lambda: not on_cgroup & cgroup_programs())
    assert "flowd" not in run("bpftool", "net")
    async with recording(attach=mode) as recorder:
        await asyncio.to_thread(traffic.tcp, client, server, 2)
        await recorder.until(ended(2))
    consistent(recorder.rows())


async def test_clsact_counts_and_cleans_up(cluster: Cluster) -> None:
    client, server = cluster.pods
    untouched = filters(client)
    async with recording(attach="clsact") as recorder:
        assert "flowd_in" in filters(client)
        before = client.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 5, 3000)
        await recorder.until(ended(5))
        counted = client.counts() - before
        assert "clsact" in recorder.capture.status()[0].detail
    rows = recorder.rows(protocol=Protocol.TCP)
    consistent(rows)
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert int(rows["packets_rev"].sum()) == counted.tx_packets
    assert filters(client) == untouched


@pytest.mark.parametrize("mode", MODES)
async def test_foreign_filters_are_not_touched(cluster: Cluster, mode: AttachMode) -> None:
    client, server = cluster.pods
    run("tc", "qdisc", "add", "dev", client.veth, "clsact")
    for side in ("ingress", "egress"):
        foreign = ["bpf", "bytecode", "1,6 0 0 0", "flowid", "1:7"]
        run("tc", "filter", "add", "dev", client.veth, side, "prio", "1", "handle", "1", *foreign)
    untouched = filters(client)
    assert "1:7" in untouched
    async with recording(attach=mode) as recorder:
        assert all(line in filters(client) for line in untouched.splitlines())
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        await recorder.until(ended(1))
    assert filters(client) == untouched


@pytest.mark.parametrize("mode", MODES)
async def test_verdict_of_a_foreign_filter_is_as_before(cluster: Cluster, mode: AttachMode) -> None:
    """A foreign filter that drops everything still does, before or after ours."""
    client, server = cluster.pods
    run("tc", "qdisc", "add", "dev", client.veth, "clsact")
    drop = ["bpf", "da", "bytecode", "1,6 0 0 2", "flowid", "1:7"]  # direct action: TC_ACT_SHOT
    async with recording(attach=mode, interfaces=[client.veth]) as recorder:
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        await recorder.until(ended(1))
        run("tc", "filter", "add", "dev", client.veth, "ingress", "prio", "7", *drop)
        before = server.counts()
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"to be dropped", (server.address, 5353))
        assert server.counts() == before
        run("tc", "filter", "del", "dev", client.veth, "ingress", "prio", "7")
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        await recorder.until(ended(2))


@needs_tcx
async def test_foreign_tcx_programs_stay_and_decide(cluster: Cluster) -> None:
    """Foreign tcx links before and after ours see every packet, and one that drops still does."""
    client, server = cluster.pods
    (index,) = (link.index for link in interfaces() if link.name == client.veth)
    passing, dropping = tc_program(TCX_NEXT), tc_program(TC_DROP)
    links: list[int] = []
    try:
        links.append(libbpf.link_create(passing, index, libbpf.BPF_TCX_INGRESS, 0))
        async with recording() as recorder:
            await asyncio.to_thread(traffic.tcp, client, server, 2)
            await recorder.until(ended(2))
            links.append(libbpf.link_create(dropping, index, libbpf.BPF_TCX_INGRESS, 0))
            theirs = [number(passing), number(dropping)]
            ours, *others = attached_to(index)
            assert others == theirs
            assert ours not in theirs
            before = server.counts()
            with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.sendto(b"to be dropped", (server.address, 5353))
            await recorder.until(lambda rows: 5353 in rows["dst_port"])
            assert server.counts() == before
        assert attached_to(index) == theirs
    finally:
        for fd in (*links, passing, dropping):
            os.close(fd)
    async with recording() as recorder:
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        await recorder.until(ended(1))


@pytest.mark.parametrize("family", traffic.FAMILIES)
async def test_options_and_extension_headers_of_real_sockets(
    cluster: Cluster, family: socket.AddressFamily
) -> None:
    client, server = cluster.pods
    four = family == socket.AF_INET
    level = socket.IPPROTO_IP if four else socket.IPPROTO_IPV6
    padding = bytes([1] * 12) if four else bytes([0, 0, 1, 4, 0, 0, 0, 0])
    name = socket.IP_OPTIONS if four else socket.IPV6_DSTOPTS
    async with recording() as recorder:
        before = client.counts()
        with (
            client.socket(family, socket.SOCK_DGRAM) as asking,
            server.socket(family, socket.SOCK_DGRAM) as asked,
        ):
            asked.bind((server.at(family), 5353))
            asking.setsockopt(level, name, padding)
            for _ in range(3):
                asking.sendto(bytes(100), (server.at(family), 5353))
                assert len(asked.recv(200)) == 100
        counted = client.counts() - before
        await recorder.until(lambda rows: 5353 in rows["dst_port"])
    rows = recorder.rows(port=5353)
    assert int(rows["packets_fwd"].sum()) == counted.rx_packets == 3
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert counted.rx_bytes == 3 * (14 + (20 if four else 40) + len(padding) + 8 + 100)


async def test_endpoints_are_those_of_the_time(cluster: Cluster) -> None:
    client, server = cluster.pods
    addresses = pack(client.address), pack(server.address)
    async with recording() as recorder:
        index = recorder.directory.endpoints.index
        first = index(Endpoint(EndpointKind.POD, 300, "team", "pod"))
        other = index(Endpoint(EndpointKind.POD, 301, "team", "server"))
        labelled = index(Endpoint(EndpointKind.POD, 302, "team", "pod", ("k8s:app=new",)))
        recorder.capture.change_endpoints({addresses[0]: first, addresses[1]: other})
        await asyncio.to_thread(traffic.tcp, client, server, 2)
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.sendto(b"old", (server.address, 5353))
            await recorder.until(lambda rows: 5353 in rows["dst_port"])
            recorder.capture.change_endpoints({addresses[0]: labelled})
            asking.sendto(b"still the old connection", (server.address, 5353))
            await asyncio.to_thread(traffic.tcp, client, server, 1)
            recorder.capture.change_endpoints(dict.fromkeys(addresses, 0))
            await asyncio.to_thread(traffic.tcp, client, server, 1)
            await recorder.until(ended(4))
    rows = recorder.rows()
    udp = rows[rows["dst_port"] == 5353]
    assert len(udp) == 2
    assert (set(udp["src_endpoint"]), set(udp["dst_endpoint"])) == ({first}, {other})
    tcp = rows[rows["protocol"] == Protocol.TCP]
    _, began = np.unique(tcp["conn_id"], return_index=True)
    each = [
        {
            (int(row["src_endpoint"]), int(row["dst_endpoint"]))
            for row in tcp[tcp["conn_id"] == conn_id]
        }
        for conn_id in tcp["conn_id"][np.sort(began)]
    ]
    assert each == [{(first, other)}, {(first, other)}, {(labelled, other)}, {(0, 0)}]


async def test_endpoint_learnt_later_is_in_later_records(cluster: Cluster) -> None:
    client, server = cluster.pods
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        async with recording(active_seconds=0.1) as recorder:
            asking.sendto(b"who am I", (server.address, 5353))
            await recorder.until(lambda rows: 5353 in rows["dst_port"])
            recorder.capture.change_endpoints({pack(client.address): 5})
            async with asyncio.timeout(30):
                while len(recorder.rows(port=5353)) < 2:
                    asking.sendto(b"now?", (server.address, 5353))
                    await asyncio.sleep(0.05)
    rows = recorder.rows(port=5353)
    assert [int(index) for index in rows["src_endpoint"][:2]] == [0, 5]
    assert rows["reason"][1] == Reason.ACTIVE


@pytest.mark.usefixtures("cluster")
async def test_more_endpoints_than_fit_are_counted() -> None:
    many = {pack(f"10.9.{n // 256}.{n % 256}"): n + 1 for n in range(100)}
    async with recording(endpoints=64) as recorder:
        recorder.capture.change_endpoints(many)
        full = recorder.lost("endpoints_full")
        assert 0 < full <= 36
        recorder.capture.change_endpoints(many)
        assert recorder.lost("endpoints_full") == full
        recorder.capture.change_endpoints(dict.fromkeys(list(many)[:50], 0))
        recorder.capture.change_endpoints({})
        assert recorder.lost("endpoints_full") == full


@pytest.mark.usefixtures("cluster")
async def test_device_without_ethernet_header() -> None:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        run("ip", "link", "set", "tun0", "up")
        async with recording(interfaces=["tun*"]) as recorder:
            packet = ipv4(datagram(), Protocol.UDP)
            os.write(tun, packet)
            await recorder.until(lambda rows: 53 in rows["dst_port"])
    finally:
        os.close(tun)
    row = recorder.rows(port=53)[0]
    assert (unpack(bytes(row["src_addr"])), int(row["src_port"])) == ("10.0.0.1", 5000)
    assert row["bytes_fwd"] == len(packet)
