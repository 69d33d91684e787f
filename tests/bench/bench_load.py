"""Short connections at the machine's maximum rate: completeness of the counts, and their cost.

    python -m tests.bench.bench_load [SECONDS]      # 60 for the figure of docs/performance.md

A whole agent runs on a node of three namespaces: first 10,000 connections at once, then SECONDS (5)
at the maximum rate, then 100,000 connections that stay open. The truth is counted by the clients
and by the node's interface counters. run_time_ns of the programs, as the kernel measures it,
includes two readings of the clock; the cost of an empty program on the same packets is printed for
comparison.
"""

import contextlib
import ctypes
import os
import re
import socket
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np

from flowd_bpf import libbpf
from flowd_bpf.errors import BpfError
from tests.bench.bench_packets import empty_program
from tests.bench.shortlived import burst, wide
from tests.bench.watched import Agent, agent
from tests.kernel.frames import MACS
from tests.kernel.net import Cluster, Pod
from tests.kernel.packets import datagram, ethernet, ipv4

CLIENTS = 2
FIRST = 10_000
LIVE = 100_000
RUN_TIME = 0  # BPF_STATS_RUN_TIME, include/uapi/linux/bpf.h
EMPTY = "an empty program"
HOOKS = ("flowd_in", "flowd_out")
BRIDGED = 2  # interfaces of the node that a packet crosses: one inbound, one outbound


def programs(watched: Agent, empty: int) -> dict[int, str]:
    """Descriptors of the agent's programs, by name, and of an empty one."""
    lib = libbpf.library()
    found = {os.dup(empty): EMPTY}
    for entry in Path(f"/proc/{watched.pid}/fdinfo").iterdir():
        try:
            text = entry.read_text()
        except FileNotFoundError:  # closed meanwhile
            continue
        told = re.search(r"^prog_id:\s+(\d+)$", text, re.MULTILINE)
        if told and "link_type" not in text:
            fd = lib.bpf_prog_get_fd_by_id(int(told[1]))
            found[fd] = info(fd)[64:80].rstrip(b"\0").decode()
    return found


@contextlib.contextmanager
def empty_behind(cluster: Cluster, pod: Pod) -> Generator[int]:
    """Attach an empty program behind the agent's programs; returns its descriptor."""
    empty = empty_program()
    with cluster.inside():
        index = socket.if_nametoindex(pod.veth)
        kinds = (libbpf.BPF_TCX_INGRESS, libbpf.BPF_TCX_EGRESS)
        links = [libbpf.link_create(empty, index, kind, 0) for kind in kinds]
    try:
        yield empty
    finally:
        for fd in (empty, *links):
            os.close(fd)


def info(fd: int) -> bytes:
    """struct bpf_prog_info of a program."""
    held, size = ctypes.create_string_buffer(232), ctypes.c_uint32(232)
    if libbpf.library().bpf_obj_get_info_by_fd(fd, held, ctypes.byref(size)):
        raise BpfError("cannot ask for a program's statistics")
    return held.raw


def statistics(fds: Mapping[int, str]) -> dict[int, tuple[int, int]]:
    """Nanoseconds and runs of each program since statistics were enabled."""
    return {
        fd: (
            int.from_bytes(info(fd)[192:200], sys.byteorder),
            int.from_bytes(info(fd)[200:208], sys.byteorder),
        )
        for fd in fds
    }


def fate(metrics: Mapping[str, float], name: str) -> int:
    return int(metrics.get(f'flowd_kernel_packets_total fate="{name}"', 0))


def row(name: str, figure: str) -> None:
    print(f"| {name} | {figure} |", flush=True)


def measured(
    watched: Agent, cluster: Cluster, empty: int, seconds: float, limit: int, what: str
) -> None:
    """Run one burst, and compare the agent's counts with the truth."""
    *clients, server = cluster.pods
    fds = programs(watched, empty)
    before, ran, cpu = watched.metrics(), statistics(fds), watched.cpu()
    packets = server.counts()
    made, took = burst(clients, server, seconds, limit)
    sent = server.counts() - packets
    truth = sent.rx_packets + sent.tx_packets

    def counted(after: Mapping[str, float], name: str) -> int:
        return int(after[name] - before.get(name, 0))

    watched.until(lambda now: counted(now, "flowd_packets_total") >= truth)
    after = watched.metrics()
    lost = {
        name.removeprefix("flowd_lost_total "): int(value - before.get(name, 0))
        for name, value in after.items()
        if name.startswith("flowd_lost_total ") and value > before.get(name, 0)
    }
    row(f"{what}: connections made", f"{made:,} in {took:.2f} s")
    row(f"{what}: connections counted", f"{counted(after, 'flowd_connections_total'):,}")
    untold = made - counted(after, "flowd_connections_total")
    row(f"{what}: connections not counted", f"{untold:,}")
    row(f"{what}: packets on the wire", f"{truth:,}")
    row(f"{what}: packets counted", f"{counted(after, 'flowd_packets_total'):,}")
    refused = fate(after, "map_full") - fate(before, "map_full")
    row(f"{what}: packets lost, by what the kernel programs say", f"{refused // BRIDGED:,}")
    row(f"{what}: losses by reason", f"{lost or 'none'}")
    spent = watched.cpu() - cpu
    row(f"{what}: agent's CPU for 100,000 connections", f"{spent / made * 1e5:.1f} s")
    by_kind: dict[str, tuple[int, int]] = {}
    for fd, (time_ns, runs) in statistics(fds).items():
        known = by_kind.get(fds[fd], (0, 0))
        by_kind[fds[fd]] = known[0] + time_ns - ran[fd][0], known[1] + runs - ran[fd][1]
        os.close(fd)
    for name, (time_ns, runs) in sorted(by_kind.items()):
        if runs:
            row(f"{what}: {name}", f"{time_ns / runs:.0f} ns a run, {runs:,} runs")
    floor = by_kind[EMPTY][0] / max(1, by_kind[EMPTY][1])
    times, runs = np.sum([by_kind[name] for name in HOOKS], axis=0)
    row(f"{what}: both hooks, over an empty program", f"{times / runs - floor:.0f} ns a run")


def stay(watched: Agent, cluster: Cluster) -> None:
    """Open connections of one datagram each, which stay live for a minute."""
    client = cluster.pods[0]
    frame = bytearray(ethernet(ipv4(datagram(), 17)))
    frame[:12] = bytes.fromhex((MACS["dst"] + MACS["src"]).replace(":", ""))
    with client.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        for number in range(LIVE):
            frame[26:30] = (0x0A010000 + number).to_bytes(4, "big")
            wire.send(frame)
    reached = watched.until(lambda now: now["flowd_live_connections"] >= LIVE, 30)
    live = int(watched.metrics()["flowd_live_connections"])
    row(f"resident memory with {live:,} live connections", f"{watched.resident():.0f} MiB")
    if not reached:
        row("live connections missing", f"{LIVE - live:,}")


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    enabled = libbpf.library().bpf_enable_stats(RUN_TIME)
    print("| load | figure |\n| --- | --- |")
    try:
        with Cluster() as cluster:
            for _ in range(CLIENTS + 1):
                cluster.add_pod()
            for pod in cluster.pods:
                wide(pod)
            with (
                agent(cluster, "--max-connections", "262144") as watched,
                empty_behind(cluster, cluster.pods[-1]) as empty,
            ):
                row("resident memory at first", f"{watched.resident():.0f} MiB")
                measured(watched, cluster, empty, 60, FIRST // CLIENTS, f"{FIRST:,} at once")
                measured(watched, cluster, empty, seconds, 0, f"{seconds:.0f} s")
                stay(watched, cluster)
    finally:
        os.close(enabled)


if __name__ == "__main__":
    main()
