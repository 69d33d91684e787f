"""Losses are counted by reason, and a full ring delays records without losing bytes."""

import asyncio
import threading

import numpy as np

from flowd.model.enums import Protocol
from flowd_bpf import libbpf
from flowd_bpf.layout import EVENT, PACKET_OUTCOMES, Counter
from flowd_bpf.load import loader
from flowd_bpf.maps.connection_table import IdleTimeouts, KernelConnectionTable
from flowd_bpf.maps.maps import PerCpuCounters
from flowd_bpf.maps.ring import Ring
from tests.kernel import traffic
from tests.kernel.net import Cluster
from tests.kernel.packets import tcp
from tests.kernel.recorder import consistent, ended, recording


async def test_ring_smaller_than_the_burst_loses_nothing(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(ring_bytes=4096) as recorder:
        before = client.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 150, 3000)
        await recorder.until(ended(150))
        counted = client.counts() - before
        assert recorder.lost("ring_full") > 0
    rows = recorder.rows(protocol=Protocol.TCP)
    consistent(rows)
    assert len(np.unique(rows["conn_id"])) == 150
    assert int(rows["bytes_fwd"].sum()) == counted.rx_bytes
    assert int(rows["packets_rev"].sum()) == counted.tx_packets


async def test_full_table_is_counted_in_packets(cluster: Cluster) -> None:
    client, server = cluster.pods
    async with recording(connections=8, limits=IdleTimeouts()) as recorder:
        before = client.counts()
        await asyncio.to_thread(traffic.tcp, client, server, 40, 100)
        counted = client.counts() - before
        await recorder.until(ended(1))
    seen = recorder.rows()
    packets = int(seen["packets_fwd"].sum() + seen["packets_rev"].sum())
    # Every packet without a slot counts at two interfaces, four hooks in all.
    lost = recorder.lost("map_full")
    assert lost > 0
    assert packets + lost // 2 == counted.rx_packets + counted.tx_packets


def test_two_cpus_on_one_connection_count_exactly() -> None:
    """Both CPUs run packets of both directions while records are written as often as possible."""
    runs = 200_000
    size = 1 << 20
    loaded = loader.load({"ACTIVE_TICKS": 1, "RING_BYTES": size})
    try:
        ring = Ring(loaded.maps["flowd_events"], size, EVENT)
        counters = PerCpuCounters(loaded.maps["flowd_counters"], len(Counter))
        directions = (tcp(), tcp(reply=True))

        def work(packet: bytes) -> None:
            for _ in range(40):
                libbpf.run_program(loaded.programs["flowd_in"], packet, runs // 40)

        threads = [threading.Thread(target=work, args=(p,)) for p in (*directions, *directions)]
        for thread in threads:
            thread.start()
        records = [ring.read()]
        while any(thread.is_alive() for thread in threads):
            records.append(ring.read())
        for thread in threads:
            thread.join()
        records.append(ring.read())
        table = KernelConnectionTable(loaded.maps, loaded.programs, 250, 8, IdleTimeouts())
        left = list(table.drain())
        events = np.concatenate(records)
        counts = counters.read()
        ring.close()
    finally:
        loaded.close()
    (entry,) = np.concatenate(left)
    assert len(events) > 10
    for way, side in enumerate((entry["forward"], 1 - entry["forward"])):
        last = entry["side"][side]
        for column, each in (("packets", 1), ("bytes", len(directions[0]))):
            told = events[column][:, way].sum()
            assert last[f"total_{column}"] == told
            assert told + last[column] == 2 * runs * each
    assert counts[Counter.SEEN] == 4 * runs == counts[list(PACKET_OUTCOMES)].sum()
    assert counts[Counter.RECORDS] == len(events)
