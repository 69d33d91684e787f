"""Store of received data: ring buffers of flows and seconds, and immutable snapshots for views."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from google.protobuf.message import Message

from flowd.text import printable
from flowd.wire.flow import flow_pb2
from flowd.wire.flowd import agent_pb2
from flowd_tui.data.flow_line import FlowLine, flow_line
from flowd_tui.data.traffic import Second, Totals, TrafficKey, clean, second, total

WINDOWS = (10, 60, 300, 900)
FLOWS = 20_000
BINS = 30
HEADER_SECONDS = 12
LOSS_PLACES = ("kernel", "capture", "access_log", "queue", "stage")


class ConnectionState(StrEnum):
    """State of the stream of flows."""

    CONNECTING = "connecting"
    LIVE = "live"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class AgentState:
    """Identity and part states of the agent, from Agent.Status; every text is printable."""

    node: str = ""
    cluster: str = ""
    version: str = ""
    parts: tuple[tuple[str, str, str], ...] = ()  # part, state, detail

    @property
    def degraded_parts(self) -> list[tuple[str, str, str]]:
        """Parts whose state is degraded or failed."""
        return [part for part in self.parts if part[1] in ("degraded", "failed")]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All data of one refresh of the screen; immutable.

    Attributes:
        connection, problem: state of the stream of flows, and why it ended.
        agent_error: why the Agent service does not answer; "" if it does.
        flows: oldest first.
        received: flows received so far, the number of the newest one.
        window: length of the window in seconds.
        seconds: the seconds inside the window, oldest first; `totals` are their sums.
        trend: requests a second by bin of the window, oldest first.
        recent: flows a second in the last 12 seconds, independent of the window.
        losses: place, reason and count.
        lost_stream: flows that the server could not send to us in time.
        cpu_share: CPU time of the agent over time, 1.0 for one core.
    """

    now_ns: int
    server: str = ""
    connection: ConnectionState = ConnectionState.CONNECTING
    problem: str = ""
    agent_error: str = ""
    agent: AgentState = field(default_factory=AgentState)
    flows: Sequence[FlowLine] = ()
    received: int = 0
    window: int = WINDOWS[1]
    seconds: Sequence[Second] = ()
    totals: Mapping[TrafficKey, Totals] = field(default_factory=dict[TrafficKey, Totals])
    trend: Mapping[TrafficKey, Sequence[float]] = field(
        default_factory=dict[TrafficKey, Sequence[float]]
    )
    recent: Sequence[float] = ()
    bytes_rate: float = 0.0
    losses: tuple[tuple[str, str, int], ...] = ()
    lost_stream: int = 0
    resident_bytes: int = 0
    cpu_share: float = 0.0
    topology: agent_pb2.RoutesResponse = field(default_factory=agent_pb2.RoutesResponse)

    @property
    def covered(self) -> float:
        """Seconds of the window for which data was received."""
        return sum(second.interval_ns for second in self.seconds) / 1e9

    @property
    def lost(self) -> int:
        """Records, entries and rows lost between the kernel and this program."""
        return sum(n for place, _, n in self.losses if place in LOSS_PLACES) + self.lost_stream


class TopStore:
    """Received flows, traffic, routes and agent state. Only the event loop's thread writes.

    Args:
        server: address of the server.
        flows: size of the ring buffer of flows.
        clock: Unix time in nanoseconds.
    """

    def __init__(
        self, server: str = "", *, flows: int = FLOWS, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.version = 0  # incremented by every change
        self.state_version = 0  # incremented by every change but new flows
        self.server = printable(server)
        self.connection = ConnectionState.CONNECTING
        self.problem = ""
        self.agent_error = ""
        self.received = 0
        self._clock = clock
        self._flows: deque[FlowLine] = deque(maxlen=flows)
        self._ring: deque[Second] = deque()
        self._window: deque[Second] = deque()
        self._seconds = WINDOWS[1]
        self._totals: dict[TrafficKey, Totals] = {}
        self._aggregates: _Aggregates | None = None
        self._losses: tuple[tuple[str, str, int], ...] = ()
        self._lost_stream = 0
        self._resident_bytes = 0
        self._cpu_share = 0.0
        self._agent = AgentState()
        self._topology = agent_pb2.RoutesResponse()

    @property
    def newest_flow_ns(self) -> int:
        """Unix time of the newest flow, from which a new stream resumes; 0 for none."""
        return self._flows[-1].time_ns if self._flows else 0

    def _bump_version(self, flow_only: bool = False) -> None:
        self.version += 1
        self.state_version += not flow_only

    def connected(self) -> None:
        """Note that the stream of flows is open."""
        self.connection, self.problem = ConnectionState.LIVE, ""
        self._bump_version()

    def disconnected(self, problem: str) -> None:
        """Note that the stream of flows ended; received data stays."""
        self.connection, self.problem = ConnectionState.DISCONNECTED, printable(problem)
        self._bump_version()

    def set_agent_error(self, reason: str) -> None:
        """Note why the server's Agent service does not answer; "" when it does."""
        self.agent_error = printable(reason)
        self._bump_version()

    def add_flow(self, flow: flow_pb2.Flow) -> None:
        """Add a flow; a full ring drops its oldest one."""
        self.received += 1
        self._flows.append(flow_line(flow, self.received))
        self._bump_version(flow_only=True)

    def add_lost(self, count: int) -> None:
        """Count flows that the server could not send to us in time (LostEvent)."""
        self._lost_stream += count
        self._bump_version()

    def add_second(self, snapshot: agent_pb2.Snapshot) -> None:
        """Add a snapshot of Agent.Watch; a second that was received before is ignored."""
        received = second(snapshot)
        if self._ring and received.time_ns <= self._ring[-1].time_ns:
            return
        self._ring.append(received)
        while received.time_ns - self._ring[0].time_ns >= WINDOWS[-1] * 10**9:
            self._ring.popleft()
        self._add_to_window(received)
        self._aggregates = None
        self._losses = tuple(
            (clean(loss.place), clean(loss.reason), loss.count) for loss in snapshot.losses
        )
        self._resident_bytes, self._cpu_share = snapshot.resident_bytes, snapshot.cpu_share
        self._bump_version()

    def _add_to_window(self, received: Second) -> None:
        self._window.append(received)
        for key, cell in received.cells.items():
            self._totals.setdefault(key, Totals()).add(cell)
        while received.time_ns - self._window[0].time_ns >= self._seconds * 10**9:
            for key, cell in self._window.popleft().cells.items():
                self._totals[key].remove(cell)
                if not self._totals[key].requests:
                    del self._totals[key]

    def set_window(self, seconds: int) -> None:
        """Change the window to the last `seconds`, one of WINDOWS."""
        self._seconds = seconds
        self._window.clear()
        self._totals.clear()
        for received in self._ring:
            self._add_to_window(received)
        self._aggregates = None
        self._bump_version()

    def set_topology(self, routes: agent_pb2.RoutesResponse) -> None:
        """Replace gateways and routes; makes their texts printable in place."""
        _make_printable(routes)
        self._topology = routes
        self._bump_version()

    def set_agent(self, status: agent_pb2.StatusResponse) -> None:
        """Replace the agent's state."""
        self._agent = AgentState(
            clean(status.node_name),
            clean(status.cluster_name),
            clean(status.version),
            tuple((clean(p.part), clean(p.state), clean(p.detail)) for p in status.parts),
        )
        self._bump_version()

    def snapshot(self) -> Snapshot:
        """An immutable copy of the current data."""
        aggregates = self._aggregates = self._aggregates or self._aggregate()
        return Snapshot(
            now_ns=self._clock(),
            server=self.server,
            connection=self.connection,
            problem=self.problem,
            agent_error=self.agent_error,
            agent=self._agent,
            flows=tuple(self._flows),
            received=self.received,
            window=self._seconds,
            seconds=aggregates.seconds,
            totals=aggregates.totals,
            trend=aggregates.trend,
            recent=aggregates.recent,
            bytes_rate=aggregates.bytes_rate,
            losses=self._losses,
            lost_stream=self._lost_stream,
            resident_bytes=self._resident_bytes,
            cpu_share=self._cpu_share,
            topology=self._topology,
        )

    def _aggregate(self) -> "_Aggregates":
        last = [s for s in list(self._ring)[-HEADER_SECONDS:] if s.interval_ns]
        return _Aggregates(
            seconds=tuple(self._window),
            totals={key: total([cell]) for key, cell in self._totals.items()},
            trend=trend(self._window, self._seconds),
            recent=[s.flows * 1e9 / s.interval_ns for s in last],
            bytes_rate=last[-1].bytes * 1e9 / last[-1].interval_ns if last else 0.0,
        )


class _Aggregates(NamedTuple):
    """The part of a snapshot that changes only with a new second or another window."""

    seconds: tuple[Second, ...]
    totals: Mapping[TrafficKey, Totals]
    trend: Mapping[TrafficKey, Sequence[float]]
    recent: Sequence[float]
    bytes_rate: float


def trend(seconds: Iterable[Second], window: int) -> dict[TrafficKey, list[float]]:
    """Requests a second by key, in at most BINS bins that end with the newest second."""
    span = [s for s in seconds if s.interval_ns]
    if not span:
        return {}
    width = max(window / BINS, 1.0)
    count = round(window / width)
    last = int(span[-1].time_ns / 1e9 / width)
    covered = [0.0] * count
    result: dict[TrafficKey, list[float]] = {}
    for received in span:
        index = count - 1 - last + int(received.time_ns / 1e9 / width)
        if index < 0:
            continue
        covered[index] += received.interval_ns / 1e9
        for key, cell in received.cells.items():
            result.setdefault(key, [0.0] * count)[index] += cell.requests
    for values in result.values():
        for index, length in enumerate(covered):
            if length:
                values[index] /= length
    return result


def _make_printable(message: Message) -> None:
    """Pass every string of a message without map fields through `printable`, in place."""
    for described, value in message.ListFields():
        if isinstance(value, str):
            setattr(message, described.name, printable(value))
        elif described.type == described.TYPE_STRING:
            value[:] = map(printable, value)
        elif described.type == described.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                _make_printable(inner)
