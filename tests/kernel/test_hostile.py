"""Hostile frames: no crash, an unchanged verdict, and exactly one outcome counted per frame."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable

import pytest

from flowd_bpf import libbpf
from flowd_bpf.layout import PACKET_OUTCOMES, Counter
from flowd_bpf.load import loader
from tests.kernel import hostile, traffic
from tests.kernel.hostile import Kind
from tests.kernel.net import Cluster
from tests.kernel.programs import PASS, Programs
from tests.kernel.recorder import eventually, recording

SEED = int.from_bytes(os.urandom(4), "big")
NAMES = ("flowd_in", "flowd_out_raw")
ETH_P_ALL = 3
BURST = 50


@pytest.mark.parametrize(
    "kind",
    [
        hostile.truncated,
        hostile.wrong_bytes,
        hostile.wrong_lengths,
        hostile.nested,
        hostile.fragments,
        lambda: hostile.randomised(SEED, 3000),
    ],
    ids=["truncated", "wrong bytes", "wrong lengths", "nested", "fragments", f"random {SEED}"],
)
def test_frames_change_no_verdict_and_are_counted(
    loaded: loader.LoadedPrograms, programs: Programs, kind: Callable[[], Iterable[Kind]]
) -> None:
    sent = 0
    for name, frame in kind():
        if not hostile.runnable(frame):
            continue
        for program in NAMES:
            verdict = libbpf.run_program(loaded.programs[program], frame)[0]
            assert verdict == PASS, (name, frame.hex())
            sent += 1
        if sent % 1000 < len(NAMES):
            programs.forget()
    counts = {fate: programs.count(fate) for fate in PACKET_OUTCOMES}
    assert programs.count(Counter.SEEN) == sent == sum(counts.values())
    assert counts[Counter.COUNTED] > 0


def delivered(cluster: Cluster, sent: list[bytes]) -> list[bytes]:
    """The frames that pass the bridge, read up to a final one that always passes."""
    client, server = cluster.pods
    last = hostile.whole()["udp"]
    found: list[bytes] = []
    with (
        server.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as arrived,
        client.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
    ):
        wire.bind(("eth0", 0))
        for number in range(0, len(sent), BURST):
            for frame in (*sent[number : number + BURST], last):
                wire.send(frame)
            while not found or found[-1] != last:
                found.append(arrived.recv(2048))
            found.pop()
    return found


async def test_cut_frames_pass_a_bridge_as_without_programs(cluster: Cluster) -> None:
    """Includes the shortest, which BPF_PROG_TEST_RUN refuses; newer bridges drop some themselves.

    Frames with VLAN tags are left out: the kernel drops a truncated tag before any program runs.
    """
    client, server = cluster.pods
    await asyncio.to_thread(traffic.udp, client, server, 1)  # wait until the bridge ports forward
    sent = [frame for name, frame in hostile.truncated() if "QinQ" not in name]
    without = await asyncio.to_thread(delivered, cluster, sent)
    async with recording(interfaces=[client.veth]) as recorder:
        assert await asyncio.to_thread(delivered, cluster, sent) == without
        whole = len(sent) + len(range(0, len(sent), BURST))
        capture = recorder.capture
        await eventually(lambda: sum(capture.packets().values()) >= whole)
    fates = recorder.capture.packets()
    assert sum(fates.values()) == whole
    assert fates["counted"] + fates["malformed"] + fates["non_ip"] == whole
    assert fates["counted"] > 0
    assert fates["malformed"] > 0
    assert 0 < len(without) <= len(sent)


def test_what_is_cut_within_its_headers_is_malformed(programs: Programs) -> None:
    """A frame counts from the length at which all its headers are complete."""
    needed = {"tcp": 14 + 20 + 16, "tcp6": 14 + 40 + 16, "udp": 14 + 20 + 8, "sctp": 14 + 20 + 13}
    frames = hostile.whole()
    for name, whole in needed.items():
        for size in range(hostile.LEAST, len(frames[name])):
            if not hostile.runnable(frames[name][:size]):
                continue
            before = programs.count(Counter.MALFORMED)
            programs.run(frames[name][:size])
            assert programs.count(Counter.MALFORMED) - before == (size < whole), (name, size)


def test_a_tunnel_that_cannot_be_read_is_the_connection_itself(programs: Programs) -> None:
    frame = hostile.whole()["vxlan"]
    outer_headers = 14 + 20 + 8
    told = {
        programs.run(frame[:size])[0][0]
        for size in range(outer_headers, len(frame))
        if not programs.forget()
    }
    assert told == {6, 17}


def test_header_lengths_below_the_least_are_malformed(programs: Programs) -> None:
    for name, frame in hostile.wrong_lengths():
        if name in {f"IHL {words}" for words in range(5)}:
            before = programs.count(Counter.MALFORMED)
            programs.run(frame)
            assert programs.count(Counter.MALFORMED) == before + 1, name


def test_table_is_no_larger_than_it_may_be() -> None:
    """A flood of tuples fills the table; packets beyond it count as MAP_FULL."""
    loaded = loader.load({"MAX_CONNECTIONS": 1024, "RING_BYTES": 1 << 16})
    try:
        programs = Programs(loaded)
        frame = hostile.whole()["udp"]
        for number in range(5000):
            source = number.to_bytes(4, "big")
            libbpf.run_program(loaded.programs["flowd_in"], frame[:26] + source + frame[30:])
        slots = libbpf.map_entries(loaded.maps["flowd_conns"])
        assert 1024 <= programs.count(Counter.CREATED) <= slots == 1536
        assert programs.count(Counter.MAP_FULL) == 5000 - programs.count(Counter.CREATED)
        programs.clear()
    finally:
        loaded.close()
