"""CPU cost of each stage of the agent for made-up records, without a kernel."""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from flowd.capture.kernel.processes import Processes
from flowd.capture.kernel.rows import batches
from flowd.identity.table import IdentityTable
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.directory import Directory
from flowd.model.enums import Protocol, Reason, SocketReason, SocketRole
from flowd.model.losses import Losses
from flowd.model.records.request import empty_requests
from flowd.model.records.socket import SocketBatch, empty_sockets
from flowd.pipeline.identify import identify
from flowd.pipeline.join.join import Join, group_batches
from flowd.pipeline.nat.translate import NatTranslator
from flowd_bpf.layout import EVENT
from flowd_exporters.agent_api.traffic import TopExporter
from flowd_exporters.hubble.exporter import HubbleExporter
from flowd_exporters.prometheus.exporter import PrometheusExporter

if TYPE_CHECKING:
    from flowd.model.records.batch import FlowBatch
    from flowd.model.records.connection import ConnectionBatch

T = TypeVar("T")
Events = NDArray[Any]

PODS = 200
NODE = "bench"
MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint8)
SHORT = ((0x02, 0), (0x12, 1), (0x10, 0), (0x18, 0), (0x18, 1), (0x14, 0))
"""TCP flags and side of the reported packets of a short connection."""


def cluster() -> Objects:
    """200 pods of 40 workloads, half of them on this node."""
    objects = Objects()
    for number in range(PODS):
        name = f"web{number // 5}-7d4f8b6c9d-{number:05d}"
        owner = core.OwnerReference(
            kind="ReplicaSet", name=f"web{number // 5}-7d4f8b6c9d", controller=True
        )
        pod = core.Pod(
            metadata=core.ObjectMeta(
                name=name,
                namespace=f"team{number // 5 % 7}",
                labels={"app": f"web{number // 5}", "pod-template-hash": "7d4f8b6c9d"},
                owner_references=(owner,),
            ),
            spec=core.PodSpec(node_name=NODE if number % 2 else "other"),
            status=core.PodStatus(phase="Running", pod_ip=f"10.244.0.{number + 1}"),
        )
        objects.pods[pod.key] = pod
    return objects


class Userland:
    """The stages behind the ring, with the default exporters.

    Attributes:
        spent: CPU seconds by stage.
    """

    def __init__(self) -> None:
        self.directory, self.losses = Directory(NODE, "bench"), Losses()
        self.table = IdentityTable(self.directory, node_name=NODE, cluster_name="bench")
        self.table.update(cluster())
        self.translator = NatTranslator(self.directory, self.losses, lambda: (), 131072)
        self.join = Join(self.table, self.losses, sockets=self._take_sockets)
        self.hubble = HubbleExporter(self.directory, self.losses)
        self.top = TopExporter(self.directory, self.losses)
        self.prometheus = PrometheusExporter(self.directory, self.losses)
        self.processes = Processes(self.directory, self.losses, None)
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._reports = empty_sockets()

    def feed(self, events: Events, sockets: SocketBatch, now: int) -> None:
        """Run one step of every stage."""
        self._reports = sockets
        identified: list[ConnectionBatch] = []
        for rows in self._timed("rows", lambda: list(batches(events, 0))):
            named = self._timed("identify", lambda rows=rows: identify(rows, self.table))
            identified.append(
                self._timed("translate", lambda named=named: self.translator.translate(named))
            )
        out: list[FlowBatch] = []
        nothing = empty_requests()
        for rows in group_batches(identified):
            self._timed("join", lambda rows=rows: out.append(self.join.step(rows, nothing, now)))
        for batch in out:
            self._timed("hubble", lambda batch=batch: self.hubble.observe(batch))
            self._timed("top", lambda batch=batch: self.top.observe(batch))
            self._timed("prometheus", lambda batch=batch: self.prometheus.observe(batch))

    def _take_sockets(self) -> SocketBatch:
        reports, self._reports = self._reports, empty_sockets()
        return reports

    def _timed(self, stage: str, call: Callable[[], T]) -> T:
        began = time.process_time()
        try:
            return call()
        finally:
            self.spent[stage] += time.process_time() - began


class Traffic:
    """Short TCP connections, half from outside the cluster, half between pods.

    Args:
        table: the pods; records have their endpoint indices, and 0 for other addresses.
    """

    def __init__(self, table: IdentityTable) -> None:
        self._rng = np.random.default_rng(1)
        self._table = table
        self._made = 0

    def connections(self, count: int, now: int) -> Events:
        """First records of new connections, shape (count,)."""
        rng, events = self._rng, np.zeros(count, EVENT)
        events["conn_id"] = np.arange(self._made + 1, self._made + count + 1)
        self._made += count
        events["time_ns"] = events["first_ns"] = now + np.arange(count)
        for side in ("src", "dst"):
            events[f"{side}_addr"][:, :12] = MAPPED
            events[f"{side}_addr"][:, 12:15] = (10, 244, 0)
        src = rng.integers(0, PODS, count)
        events["src_addr"][:, 15] = src + 1  # every workload connects to four others
        events["dst_addr"][:, 15] = (src // 5 + rng.integers(1, 5, count)) % (PODS // 5) * 5 + 1
        outside = rng.random(count) < 0.5
        events["src_addr"][outside, 12:] = rng.integers(50, 220, (int(outside.sum()), 4))
        known = self._table.entries()
        for side in ("src", "dst"):
            addresses = events[f"{side}_addr"].copy().view("V16").reshape(-1).tolist()
            events[f"{side}_endpoint"] = [known.get(bytes(one), 0) for one in addresses]
        events["src_port"] = rng.integers(1024, 65536, count)
        events["dst_port"] = rng.choice([80, 443, 8080, 5432], count)
        events["protocol"], events["family"] = Protocol.TCP, 4
        events["ifindex"], events["initiator"] = rng.integers(2, 40, count), 1
        events["reason"], events["flags"] = Reason.NEW, SHORT[0][0]
        events["bytes"][:, 0] = events["total_bytes"][:, 0] = 74
        events["packets"][:, 0] = events["total_packets"][:, 0] = 1
        return events

    def lives(self, first: Events) -> Events:
        """All records of these connections except the last, shape (len(SHORT) * count,)."""
        seen = np.zeros((len(first), 2), np.uint8)
        records: list[Events] = []
        for number, (flags, side) in enumerate(SHORT):
            record = first.copy()
            record["time_ns"] += np.uint64(number * 1000)
            record["reason"] = Reason.FLAGS if number else Reason.NEW
            record["flags"], record["is_reply"], record["hook"] = flags, side, side
            seen[:, side] |= flags
            record["flags_seen"] = seen
            record["bytes"][:, side], record["packets"][:, side] = 66, 1
            records.append(record)
        return np.stack(records, axis=1).reshape(-1)

    def ends(self, first: Events, now: int) -> Events:
        """The END record of each connection."""
        record = first.copy()
        record["time_ns"], record["reason"], record["flags"] = now, Reason.END, 0
        record["flags_seen"] = (0x1E, 0x1A)
        return record

    def sockets(self, first: Events) -> SocketBatch:
        """ESTABLISHED and CLOSED reports of both sockets."""
        reports: list[SocketBatch] = []
        for number, reason in enumerate((SocketReason.ESTABLISHED, SocketReason.CLOSED)):
            for role in (SocketRole.CONNECTED, SocketRole.ACCEPTED):
                rows = empty_sockets(len(first))
                rows["time_ns"] = first["time_ns"] + np.uint64(1500 + 3000 * number)
                near, far = ("src", "dst") if role == SocketRole.CONNECTED else ("dst", "src")
                for name in ("addr", "port"):
                    rows[f"local_{name}"] = first[f"{near}_{name}"]
                    rows[f"remote_{name}"] = first[f"{far}_{name}"]
                rows["cookie"] = first["conn_id"] * np.uint64(2) + np.uint64(role)
                rows["srtt_us"] = rows["min_rtt_us"] = 40
                rows["connect_ns"] = 50_000 if role == SocketRole.CONNECTED and not number else 0
                rows["pid"], rows["process"], rows["family"] = role * 100, role, 4
                rows["role"], rows["reason"] = role, reason
                reports.append(rows)
        return np.stack(reports, axis=1).reshape(-1)


def short_lives(turns: int, connections: int) -> dict[str, float]:
    """CPU seconds by stage, for several steps of this many short connections each."""
    agent = Userland()
    traffic = Traffic(agent.table)
    now, before = time.time_ns() - 10**12, deque[Events](maxlen=5)
    for turn in range(turns + 5):
        if turn == 5:
            agent.spent.clear()
        now += 200_000_000
        first = traffic.connections(connections, now)
        events = traffic.lives(first)
        if len(before) == 5:  # as the kernel's table evicts them
            events = np.concatenate([events, traffic.ends(before[0], now)])
        before.append(first)
        agent.feed(events, traffic.sockets(first), now)
    return dict(agent.spent)


def figures() -> list[tuple[str, str]]:
    """Cost of a short connection (seven records, four reports) behind the rings."""
    lines: list[tuple[str, str]] = []
    for turns, connections in ((100, 2), (40, 1000)):
        rounds = [short_lives(turns, connections) for _ in range(3)]
        best = min(rounds, key=lambda spent: sum(spent.values()))
        total = sum(best.values())
        what = f"a turn of {connections:,} short connections, CPU"
        each = f"{total / turns / connections * 1e6:.1f} us a connection"
        lines.append((what, f"{total / turns * 1e3:.2f} ms, {each}"))
        lines += [
            (f"  of it {stage}", f"{spent / turns * 1e3:.2f} ms") for stage, spent in best.items()
        ]
    return lines


if __name__ == "__main__":
    for name, figure in figures():
        print(f"{name:50}  {figure}")
