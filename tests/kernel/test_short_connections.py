"""Many short connections: fewer records each, none missing, none reported twice."""

import asyncio
import os

import numpy as np

from flowd.model.enums import Protocol, Reason, SocketReason
from flowd.model.records.socket import SocketBatch
from flowd_bpf import libbpf
from flowd_bpf.layout import EVENT, Counter, EvictMode
from flowd_bpf.load import loader
from flowd_bpf.maps.evict import Evictor
from flowd_bpf.maps.maps import PerCpuCounters
from flowd_bpf.maps.ring import Ring
from flowd_bpf.maps.slots import Slots
from tests.kernel import traffic
from tests.kernel.net import Cluster
from tests.kernel.packets import tcp
from tests.kernel.programs import RING, Programs
from tests.kernel.recorder import consistent, ended, eventually, recording
from tests.kernel.socket_recorder import Reported, cookie
from tests.kernel.test_sockets import connected

SYN_RST = 0x06  # opens a connection, and closes it for the next one
LIVES = 2000


async def test_without_details_a_connection_has_two_records(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(detail_records=0, active_seconds=3600, sockets=True) as recorder:
        reported = Reported(recorder)
        before = client.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 20, 3000)
        await recorder.until(ended(20))
        counted = client.counts() - before

        def told(reason: SocketReason) -> SocketBatch:
            rows = reported.rows(0, reason)
            return rows[rows["pid"] == os.getpid()]

        await eventually(lambda: len(told(SocketReason.CLOSED)) == 40)
        established = told(SocketReason.ESTABLISHED)
    rows = recorder.rows(protocol=Protocol.TCP)
    consistent(rows)
    assert len(rows) == 40
    assert set(rows["reason"]) == {Reason.NEW, Reason.END}
    last = rows[rows["reason"] == Reason.END]
    assert (last["flags_fwd"] == 0x1B).all()  # FIN, SYN, PSH, ACK
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert int(rows["packets_rev"].sum()) == counted.tx_packets
    assert len(established) == len(np.unique(established["cookie"])) == 40
    assert np.count_nonzero(established["connect_ns"]) == 20


async def test_socket_in_use_tells_late_that_it_is_established(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(detail_records=0, sockets=True) as recorder:
        reported = Reported(recorder)
        with connected(client, server) as (peer, accepted):
            number = cookie(peer)
            async with asyncio.timeout(30):
                while not len(reported.rows(number, SocketReason.ESTABLISHED)):
                    peer.sendall(bytes(100))
                    await asyncio.to_thread(traffic.receive, accepted, 100)
                    await asyncio.sleep(0.02)
        (ended_,) = await reported.until(number, SocketReason.CLOSED)
    assert ended_["also"] == 0
    (row,) = reported.rows(number, SocketReason.ESTABLISHED)
    assert row["connect_ns"] > 0


def lives(loaded: loader.LoadedPrograms) -> bytes:
    """Create LIVES connections, twenty in a row on each tuple; returns the last packet."""
    packet = tcp(SYN_RST)
    for number in range(LIVES // 20):
        packet = packet[:34] + (number + 1).to_bytes(2, "big") + packet[36:]
        libbpf.run_program(loaded.programs["flowd_in"], packet, 20)
    return packet


def test_ports_used_again_while_the_ring_is_full(
    programs: Programs, loaded: loader.LoadedPrograms
) -> None:
    """Every connection exists once: as a record in the ring, or in a slot of the table."""
    lives(loaded)
    slots, values = programs.entries()
    ring = Ring(loaded.maps["flowd_events"], RING, EVENT)
    try:
        events = ring.read()
    finally:
        ring.close()
    over = events[events["reason"] == Reason.END]
    assert 0 < len(over) < LIVES
    assert len(over) + len(slots) == LIVES == programs.count(Counter.CREATED)
    assert len(np.unique(np.concatenate([over["conn_id"], values["conn_id"]]))) == LIVES
    assert programs.count(Counter.MAP_FULL) == 0
    packets = values["side"]["packets"].sum() + values["side"]["total_packets"].sum()
    assert packets + over["total_packets"].sum() == LIVES
    taken = Evictor(loaded.programs["flowd_evict"]).evict(slots, values, EvictMode.IF_IDLE)
    assert len(taken) == len(slots)
    assert len(programs.entries()[0]) == 0


def test_end_does_not_come_before_new(programs: Programs, loaded: loader.LoadedPrograms) -> None:
    """A connection whose NEW record did not fit into the ring is left to user space as a whole."""
    packet = lives(loaded)
    before = len(programs.entries()[0])
    ring = Ring(loaded.maps["flowd_events"], RING, EVENT)
    try:
        ring.read()
        assert [event["reason"] for event in programs.events(packet)] == [Reason.NEW]
        both = [event["reason"] for event in programs.events(packet)]
    finally:
        ring.close()
    assert both == [Reason.END, Reason.NEW]
    assert len(programs.entries()[0]) == before + 1


def test_neither_ring_nor_table_has_space() -> None:
    loaded = loader.load({"MAX_CONNECTIONS": 4, "RING_BYTES": 4096})
    try:
        counters = PerCpuCounters(loaded.maps["flowd_counters"], len(Counter))
        libbpf.run_program(loaded.programs["flowd_in"], tcp(SYN_RST), LIVES)
        counts = counters.read()
        entries = sum(len(found) for found, _ in Slots(loaded.maps).scan())
    finally:
        loaded.close()
    assert counts[Counter.COUNTED] + counts[Counter.MAP_FULL] == LIVES
    assert counts[Counter.COUNTED] == counts[Counter.CREATED]
    assert counts[Counter.MAP_FULL] > 0
    assert counts[Counter.CREATED] - counts[Counter.ENDED] == entries


def test_what_changed_since_it_was_found_stays(
    programs: Programs, loaded: loader.LoadedPrograms
) -> None:
    evictor = Evictor(loaded.programs["flowd_evict"])
    programs.run(tcp(SYN_RST))
    slots, values = programs.entries()
    alive = values.copy()
    alive["side"]["seen"][:, 0] -= 1
    alive["side"]["seen"][:, 1] -= 1
    assert len(evictor.evict(slots, alive, EvictMode.IF_IDLE)) == 0
    other = values.copy()
    other["conn_id"] += 1
    assert len(evictor.evict(slots, other, EvictMode.ALWAYS)) == 0
    (gone,) = evictor.evict(slots, alive, EvictMode.ALWAYS)
    assert gone["conn_id"] == values["conn_id"][0]
    assert len(evictor.evict(slots, values, EvictMode.ALWAYS)) == 0
