"""Both tuples of translated connections compared with the addresses that both ends saw."""

import asyncio
import contextlib
import itertools
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from flowd.agent import Agent
from flowd.capture.kernel.conntrack import Conntrack
from flowd.model.address import unpack
from flowd.model.enums import Nat, Protocol, Reason
from flowd.model.losses import Losses, Place
from flowd.model.records.connection import ConnectionBatch
from flowd.model.status import PartStatus, State
from flowd.settings import Settings
from tests.kernel.nat_net import Router, Truth
from tests.kernel.nat_rules import (
    SERVICE,
    SERVICE_PORT,
    Makes,
    iptables_legacy,
    iptables_nft,
    ipvs,
    nftables,
)
from tests.kernel.net import Counts, run
from tests.kernel.recorder import consistent, eventually
from tests.kernel.traffic import FAMILIES
from tests.kernel.translated import Translated, exchange, translating

_numbers = itertools.count(1)
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.fixture
def router() -> Iterator[Router]:
    """The test runs in the router's namespace."""
    with Router(f"nat{next(_numbers)}").made() as made:
        yield made


def tuples(rows: ConnectionBatch, prefix: str = "") -> list[tuple[str, int, str, int]]:
    return [
        (
            unpack(bytes(row[f"{prefix}src_addr"])),
            int(row[f"{prefix}src_port"]),
            unpack(bytes(row[f"{prefix}dst_addr"])),
            int(row[f"{prefix}dst_port"]),
        )
        for row in rows
    ]


def sides(rows: ConnectionBatch) -> tuple[ConnectionBatch, ConnectionBatch]:
    return rows[rows["nat"] == Nat.BEFORE], rows[rows["nat"] == Nat.AFTER]


def check(rows: ConnectionBatch, truths: list[Truth]) -> None:
    """Assert that each row is one side of a translation and carries the other side's tuple."""
    consistent(rows)
    before, after = sides(rows)
    assert len(before) + len(after) == len(rows)
    pairs = {(truth.before, truth.after) for truth in truths}
    assert set(zip(tuples(before), tuples(before, "nat_"), strict=True)) == pairs
    assert set(zip(tuples(after, "nat_"), tuples(after), strict=True)) == pairs
    for side in (before, after):
        assert len(np.unique(side["conn_id"])) == len(truths)


def sums(rows: ConnectionBatch) -> list[int]:
    return [
        int(rows[column].sum())
        for column in ("bytes_fwd", "packets_fwd", "bytes_rev", "packets_rev")
    ]


def counters(router: Router) -> tuple[Counts, Counts, Counts]:
    return router.client.counts(), router.one.counts(), router.two.counts()


def over(count: int) -> Callable[[ConnectionBatch], bool]:
    return lambda rows: Counter(rows["reason"].tolist())[Reason.END] >= count


@pytest.mark.parametrize(
    ("makes", "family"),
    [
        (nftables, socket.AF_INET),
        (nftables, socket.AF_INET6),
        (iptables_nft, socket.AF_INET),
        (iptables_nft, socket.AF_INET6),
        (iptables_legacy, socket.AF_INET),
        (iptables_legacy, socket.AF_INET6),
        (ipvs, socket.AF_INET),
        (ipvs, socket.AF_INET6),
    ],
)
async def test_tcp_to_cluster_address_node_port_and_load_balancer(
    makes: Makes, family: socket.AddressFamily
) -> None:
    router = Router(f"nat{next(_numbers)}")
    with router.made(makes), router.serving(family, TCP):
        async with translating() as seen:
            start = counters(router)
            truths = [
                truth
                for to in router.virtual(family)
                for truth in await asyncio.to_thread(exchange, router, family, TCP, to, 10)
            ]
            rows = await seen.until(Protocol.TCP, over(60))
            client, one, two = (
                now - then for now, then in zip(counters(router), start, strict=True)
            )
    assert {truth.before[2:] for truth in truths} == set(router.virtual(family))
    assert {truth.after[2] for truth in truths} == {router.one.at(family), router.two.at(family)}
    assert any(truth.before[:2] != truth.after[:2] for truth in truths)
    check(rows, truths)
    before, after = sides(rows)
    assert sums(before) == [
        *(client.rx_bytes, client.rx_packets, client.tx_bytes, client.tx_packets),
    ]
    assert sums(after) == [
        *(one.tx_bytes + two.tx_bytes, one.tx_packets + two.tx_packets),
        *(one.rx_bytes + two.rx_bytes, one.rx_packets + two.rx_packets),
    ]


@pytest.mark.parametrize("family", FAMILIES)
async def test_udp_to_a_service(router: Router, family: socket.AddressFamily) -> None:
    with router.serving(family, UDP):
        async with translating() as seen:
            to = (SERVICE[family], SERVICE_PORT)
            truths = await asyncio.to_thread(exchange, router, family, UDP, to, 12)
            rows = await seen.until(
                Protocol.UDP, lambda rows: len(np.unique(rows["conn_id"])) == 24
            )
    check(rows, truths)


@pytest.mark.parametrize("family", FAMILIES)
async def test_echo_to_a_service(router: Router, family: socket.AddressFamily) -> None:
    protocol = Protocol.ICMP if family == socket.AF_INET else Protocol.ICMPV6
    kind = 8 if family == socket.AF_INET else 128

    def ping() -> None:
        with router.client.socket(family, UDP, protocol) as asking:
            asking.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, 1) + bytes(56), (SERVICE[family], 0))
            asking.recv(1024)

    async with translating() as seen:
        await asyncio.to_thread(ping)
        rows = await seen.until(
            protocol, lambda rows: len(np.unique(rows["conn_id"][rows["icmp_type"] == kind])) == 2
        )
    rows = rows[rows["icmp_type"] == kind]
    before, after = sides(rows)
    client, service, pod = router.client.at(family), SERVICE[family], router.one.at(family)
    assert {(a, c) for a, _, c, _ in tuples(before)} == {(client, service)}
    assert {(a, c) for a, _, c, _ in tuples(after)} == {(client, pod)}
    assert set(tuples(before)) == set(tuples(after, "nat_"))
    assert set(tuples(after)) == set(tuples(before, "nat_"))


async def test_two_thousand_short_connections(router: Router) -> None:
    family = socket.AF_INET
    with router.serving(family, TCP):
        async with translating() as seen:
            to = (SERVICE[family], SERVICE_PORT)
            truths = await asyncio.to_thread(exchange, router, family, TCP, to, 2000)
            rows = await seen.until(Protocol.TCP, over(4000))
            assert seen.translator.table.live == seen.conntrack.tracked() == 2000
    check(rows, truths)


async def test_a_port_used_again_at_once_has_each_time_its_own_backend(router: Router) -> None:
    family = socket.AF_INET
    with router.serving(family, TCP):
        async with translating() as seen:
            to = (SERVICE[family], SERVICE_PORT)
            call = asyncio.to_thread(exchange, router, family, TCP, to, 20, port=40000)
            truths = await call
            rows = await seen.until(Protocol.TCP, over(40))
    consistent(rows)
    before, _ = sides(rows)
    new = before[before["reason"] == Reason.NEW]
    new = new[np.argsort(new["first_ns"])]
    assert tuples(new, "nat_") == [truth.after for truth in truths]
    ends = before[before["reason"] == Reason.END]
    ends = ends[np.argsort(ends["first_ns"])]
    assert tuples(ends, "nat_") == [truth.after for truth in truths]


async def test_connections_older_than_the_agent(router: Router) -> None:
    family = socket.AF_INET
    with router.serving(family, TCP), contextlib.ExitStack() as stack:
        to = (SERVICE[family], SERVICE_PORT)
        peers = [stack.enter_context(router.client.socket(family, TCP)) for _ in range(6)]
        for peer in peers:
            peer.connect(to)
        async with translating() as seen:
            truths = [await asyncio.to_thread(router.ask, peer) for peer in peers]
            stack.close()
            rows = await seen.until(Protocol.TCP, over(12))
    check(rows, truths)


async def test_news_that_the_kernel_could_not_tell_is_counted_and_listed(router: Router) -> None:
    family = socket.AF_INET
    with router.serving(family, TCP), contextlib.ExitStack() as stack:
        to = (SERVICE[family], SERVICE_PORT)
        async with translating(receive_bytes=1) as seen:
            peers = [stack.enter_context(router.client.socket(family, TCP)) for _ in range(60)]
            for peer in peers:
                peer.connect(to)
            await seen.until(Protocol.TCP, lambda _: lost(seen) > 0)
            await seen.until(Protocol.TCP, lambda _: seen.translator.table.live == 60)
            truths = [await asyncio.to_thread(router.ask, peer) for peer in peers]
            stack.close()
            rows = await seen.until(Protocol.TCP, over(120))
    ends = rows[rows["reason"] == Reason.END]
    before, after = sides(ends)
    assert len(before) == len(after) == 60
    pairs = {(truth.before, truth.after) for truth in truths}
    assert set(zip(tuples(before), tuples(before, "nat_"), strict=True)) == pairs


def lost(seen: Translated) -> int:
    return seen.recorder.losses.snapshot()[Place.CAPTURE, "conntrack_overrun"]


CHILD = """
from flowd.capture.kernel.conntrack import probe
from flowd.runtime.privileges import drop_privileges
drop_privileges()
print(*probe(), sep="|")
"""


@pytest.mark.parametrize(
    ("child", "state", "detail"),
    [
        (CHILD, State.ON, "connections in conntrack"),
        (
            CHILD.replace("\ndrop_privileges()", "\nimport os; os.setuid(65534)"),
            State.DEGRADED,
            "conntrack cannot be read without CAP_NET_ADMIN",
        ),
    ],
    ids=["as the agent keeps them", "none"],
)
def test_privileges(router: Router, child: str, state: State, detail: str) -> None:
    told = run(sys.executable, "-c", child).strip().split("|")
    assert told[0] == state
    assert detail in told[1]


def test_a_list_has_a_limit(router: Router) -> None:
    family, losses = socket.AF_INET, Losses()
    conntrack = Conntrack(losses, limit=5)
    with router.serving(family, TCP):
        exchange(router, family, TCP, (SERVICE[family], SERVICE_PORT), 12)
        conntrack.start()
        try:
            (news,) = conntrack.read_events()
        finally:
            conntrack.close()
    assert (len(news.rows), news.complete) == (5, False)
    assert losses.snapshot()[Place.CAPTURE, "conntrack_list_full"] == 7


def test_conntrack_without_news_is_degraded_and_lists(router: Router) -> None:
    setting = Path("/proc/sys/net/netfilter/nf_conntrack_events")
    setting.write_text("0")
    conntrack = Conntrack(Losses())
    conntrack.start()
    try:
        part = conntrack.status()
        assert (part.part, part.state) == ("nat", State.DEGRADED)
        assert "net.netfilter.nf_conntrack_events" in part.detail
        (first,) = conntrack.read_events()
        assert first.complete
    finally:
        conntrack.close()


def test_switched_off() -> None:
    conntrack = Conntrack(Losses(), wanted=False)
    conntrack.start()
    assert conntrack.read_events() == []
    assert conntrack.status().state is State.OFF


async def test_the_agent_counts_each_side_under_its_own_label(router: Router) -> None:
    family = socket.AF_INET
    nothing = {"als_listen": "", "hubble_listen": "", "metrics_listen": ""}
    agent = Agent(msgspec.convert({"capture": "on", **nothing}, Settings))
    stop = asyncio.Event()

    def counted() -> Counter[str]:
        found: Counter[str] = Counter()
        for metric in agent.outputs.prometheus.registry.collect():
            for sample in metric.samples:
                if sample.name == "flowd_connections_total" and sample.labels["protocol"] == "TCP":
                    found[sample.labels["nat"]] += int(sample.value)
                if sample.name == "flowd_conntrack_entries":
                    found[sample.labels["state"]] = int(sample.value)
        return found

    running = asyncio.create_task(agent.run(stop))
    try:
        await eventually(lambda: running.done() or agent_part(agent, "nat").state is State.ON)
        assert not running.done()
        with router.serving(family, TCP):
            to = (SERVICE[family], SERVICE_PORT)
            await asyncio.to_thread(exchange, router, family, TCP, to, 10)
        wanted = {"before": 10, "after": 10, "tracked": 10, "translated": 10}
        await eventually(lambda: counted() == wanted)
    finally:
        stop.set()
        await running


def agent_part(agent: Agent, name: str) -> PartStatus:
    return next(part for part in agent.status() if part.part == name)
