"""Capture filter, sampling and prefix identities in the kernel, on traffic and single packets."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Iterator

import numpy as np
import pytest

from flowd.capture.kernel.endpoints import KernelEndpoints
from flowd.capture.kernel.filter import CaptureFilter
from flowd.model.address import pack
from flowd.model.enums import Protocol
from flowd.model.losses import Losses, Place
from flowd_bpf.layout import PREFIX, Counter
from flowd_bpf.load import loader
from flowd_bpf.maps.maps import HashMap
from tests.kernel import traffic
from tests.kernel.frames import ether, ip, outer, sctp, tcp, udp, vxlan
from tests.kernel.net import Cluster
from tests.kernel.programs import RING, Programs
from tests.kernel.recorder import consistent, ended, eventually, recording
from tests.kernel.traffic import PORT

Filtered = Callable[[CaptureFilter], contextlib.AbstractContextManager[Programs]]


@pytest.fixture(scope="module")
def filtered() -> Iterator[Filtered]:
    """Loaded programs with a filter, not attached; compiled once per set of switches."""
    compiled: dict[frozenset[tuple[str, int]], loader.LoadedPrograms] = {}

    @contextlib.contextmanager
    def made(only: CaptureFilter) -> Generator[Programs]:
        switches = frozenset(only.defines().items())
        if switches not in compiled:
            compiled[switches] = loader.load({"RING_BYTES": RING, **only.defines()})
        loaded = compiled[switches]
        if only.cidrs:
            networks = HashMap(loaded.maps["flowd_filter_cidrs"], PREFIX, np.dtype("u4"))
            for keys in [keys.copy() for keys, _ in networks.scan()]:
                networks.delete(keys)
        only.fill(loaded.maps)
        programs = Programs(loaded)
        yield programs
        programs.clear()

    yield made
    for loaded in compiled.values():
        loaded.close()


FRAMES = {
    "tcp": ether() / ip() / tcp(),
    "tcp6": ether() / ip(6) / tcp(),
    "udp": ether() / ip() / udp(),
    "sctp": ether() / ip() / sctp("init"),
    "icmp": bytes(ether() / ip(proto=1)) + bytes([8, 0, 0, 0, 0x1F, 0x90, 0, 1]),
    "vxlan": ether() / outer() / vxlan(ether() / ip() / tcp()),
}


@pytest.mark.parametrize(
    ("only", "kept"),
    [
        (CaptureFilter(["10.1.0.0/24"]), "tcp udp sctp icmp vxlan"),
        (CaptureFilter(["fd01::/64"]), "tcp6"),
        (CaptureFilter(["10.1.0.2/32", "fd01::2/128"]), "tcp tcp6 udp sctp icmp vxlan"),
        (CaptureFilter(["!10.1.0.1/32"]), "tcp6"),
        (CaptureFilter(["10.0.0.0/8", "!10.1.0.2/31"]), ""),
        (CaptureFilter(["!0.0.0.0/0", "10.1.0.0/16"]), "tcp udp sctp icmp vxlan"),
        (CaptureFilter(["192.0.2.0/24"]), ""),  # the outer addresses are not the connection's
        (CaptureFilter(ports=["80"]), "tcp tcp6 vxlan"),
        (CaptureFilter(ports=["9000-9001", "3868"]), "udp sctp"),
        (CaptureFilter(ports=["!80", "!8080"]), "udp sctp icmp"),  # an echo identifier is no port
        (CaptureFilter(ports=["1-65535", "!9000"]), "tcp tcp6 sctp vxlan"),
        (CaptureFilter(protocols=["tcp", "1"]), "tcp tcp6 icmp vxlan"),
        (CaptureFilter(protocols=["!sctp"]), "tcp tcp6 udp icmp vxlan"),
        (CaptureFilter(["10.0.0.0/8"], ["80", "9000"], ["!udp"]), "tcp vxlan"),
    ],
    ids=str,
)
def test_filter_takes_what_it_names(filtered: Filtered, only: CaptureFilter, kept: str) -> None:
    with filtered(only) as programs:
        taken: list[str] = []
        for name, frame in FRAMES.items():
            if programs.run(bytes(frame)):
                taken.append(name)
            programs.forget()
        assert taken == kept.split()
        assert programs.count(Counter.FILTERED) == len(FRAMES) - len(taken)
        assert programs.count(Counter.UNSAMPLED) == 0


@pytest.mark.parametrize("family", [4, 6])
def test_sampling_takes_whole_connections(filtered: Filtered, family: int) -> None:
    connections, share = 4000, 10
    with filtered(CaptureFilter(sampling=share)) as programs:
        asked = bytes(ether() / ip(family) / tcp(0))
        answered = bytes(ether() / ip(family, reply=True) / tcp(0, reply=True))
        source = 34 if family == 4 else 54
        for port in range(connections):
            number = (1024 + port).to_bytes(2, "big")
            programs.run(asked[:source] + number + asked[source + 2 :])
            programs.run(answered[: source + 2] + number + answered[source + 4 :])
        taken = programs.count(Counter.CREATED)
        assert programs.count(Counter.COUNTED) == 2 * taken
        assert programs.count(Counter.UNSAMPLED) == 2 * (connections - taken)
        # A hash of the tuple, so equal at every run: within 4 standard deviations of a fair draw.
        assert abs(taken - connections // share) < 4 * (connections * 0.1 * 0.9) ** 0.5


async def test_real_connections_filtered_and_sampled(cluster: Cluster) -> None:
    client, server = cluster.pods
    only = CaptureFilter([f"{server.address}/32"], [str(PORT)], ["tcp"], sampling=3)
    async with recording(only=only) as recorder:
        assert recorder.capture.status()[0].detail.endswith(
            f"; only {server.address}/32, only port {PORT}, only tcp, 1 in 3 connections"
        )
        before = client.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 60, 1000)
        counted = client.counts() - before
        await asyncio.to_thread(traffic.udp, client, server, 7)
        await asyncio.to_thread(traffic.ping, client, server, 3)
        await asyncio.to_thread(traffic.tcp, client, server, 5, 1000, socket.AF_INET6)
        capture = recorder.capture
        seen = counted.rx_packets + counted.tx_packets
        await eventually(lambda: capture.packets()["filtered"] >= 2 * (14 + 6 + 5 * 10))
    rows = recorder.rows()
    consistent(rows)
    fates = recorder.capture.packets()
    connections = len(np.unique(rows["conn_id"]))
    assert 0 < connections < 60
    assert set(rows["protocol"]) == {Protocol.TCP}
    assert set(rows["family"]) == {4}
    # Every packet crosses two interfaces; each connection is captured whole or not at all.
    told = int(rows["packets_fwd"].sum() + rows["packets_rev"].sum())
    assert told == fates["counted"] == fates["elsewhere"]
    assert told + fates["unsampled"] // 2 == seen
    for conn_id in np.unique(rows["conn_id"]):
        last = rows[rows["conn_id"] == conn_id][-1]
        assert last["total_bytes_fwd"] > 1000
        assert last["total_bytes_rev"] > 1000


async def test_filter_that_lets_everything_through_changes_nothing(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(only=CaptureFilter(["!203.0.113.0/24"], ["!1"], ["!2"])) as recorder:
        before = client.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 5, 1000)
        await recorder.until(ended(5))
        counted = client.counts() - before
    rows = recorder.rows()
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert recorder.capture.packets()["filtered"] == 0


V4 = 96
"""Bits by which a mapped IPv4 prefix is longer than the IPv4 one."""


async def test_addresses_are_known_by_themselves_and_by_prefix(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording() as recorder:
        recorder.capture.change_endpoints({pack(client.address): 11})
        recorder.capture.set_networks(
            [
                (pack("10.0.0.0"), 8 + V4, 1),
                (pack("10.244.0.0"), 24 + V4, 2),
                (pack("fd00::"), 8, 3),
                (pack("fd00:244::"), 64, 4),
                (pack("::"), 0, 5),
            ]
        )
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        await asyncio.to_thread(traffic.tcp, client, server, 1, 1000, socket.AF_INET6)
        await recorder.until(ended(2))
        recorder.capture.set_networks([(pack("10.0.0.0"), 8 + V4, 6)])
        await asyncio.to_thread(traffic.tcp, client, server, 1)
        await asyncio.to_thread(traffic.tcp, client, server, 1, 1000, socket.AF_INET6)
        await recorder.until(ended(4))
    new = recorder.rows()
    new = new[new["reason"] == 1]
    assert list(zip(new["src_endpoint"].tolist(), new["dst_endpoint"].tolist(), strict=True)) == [
        (11, 2),
        (4, 4),
        (11, 6),
        (0, 0),
    ]


def test_changes_leave_no_gap(loaded: loader.LoadedPrograms, programs: Programs) -> None:
    """An address that stays is always known while other entries are added, changed and removed."""
    endpoints = KernelEndpoints(Losses())
    endpoints.start(loaded.maps)
    always = pack("10.1.0.1")
    frames = [bytes(ether() / ip() / tcp(port)) for port in range(2000, 2064)]
    found: set[int] = set()
    others: dict[bytes, int] = {}
    for turn in range(1, 65):
        gone = dict.fromkeys(others, 0)
        others = {pack(f"10.9.{turn}.{n}"): n + 1 for n in range(50)}
        endpoints.change({always: turn, **others, **gone})
        endpoints.set_networks([(pack("10.1.0.2"), 31 + V4, turn), (pack("10.1.0.0"), 24 + V4, 7)])
        (event,) = programs.events(frames[turn - 1])
        found.add(int(event["src_endpoint"]))
        assert event["dst_endpoint"] == turn
    assert found == set(range(1, 65))
    endpoints.change({always: 0, pack("10.1.0.2"): 9})
    programs.forget()
    (event,) = programs.events(frames[0])
    assert (event["src_endpoint"], event["dst_endpoint"]) == (7, 9)
    endpoints.change(dict.fromkeys((*others, pack("10.1.0.2")), 0))
    endpoints.set_networks([])
    programs.forget()
    (event,) = programs.events(frames[0])
    assert (event["src_endpoint"], event["dst_endpoint"]) == (0, 0)


def test_more_networks_than_fit_are_counted() -> None:
    loaded = loader.load({"MAX_PREFIXES": 16, "MAX_ENDPOINTS": 64})
    try:
        losses = Losses()
        endpoints = KernelEndpoints(losses)
        endpoints.start(loaded.maps)
        for _ in range(2):
            endpoints.set_networks([(pack(f"10.{n}.0.0"), 16 + V4, n + 1) for n in range(20)])
            assert losses.snapshot()[Place.KERNEL, "endpoints_full"] == 4
    finally:
        loaded.close()
