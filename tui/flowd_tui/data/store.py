"""What was received: rings of flows and seconds, and frozen snapshots of them for the views."""

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
from flowd_tui.data.traffic import Key, Second, Totals, clean, second, total

WINDOWS = (10, 60, 300, 900)
FLOWS = 20_000
BINS = 30
HEADER_SECONDS = 12
LOSING_PLACES = ("kernel", "capture", "access_log", "queue", "stage")


class Link(StrEnum):
    """How the stream of flows does."""

    CONNECTING = "connecting"
    LIVE = "live"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class AgentState:
    """What the agent says of itself; every text is printable."""

    node: str = ""
    cluster: str = ""
    version: str = ""
    parts: tuple[tuple[str, str, str], ...] = ()  # part, state, detail

    @property
    def troubled(self) -> list[tuple[str, str, str]]:
        """Parts that are degraded or failed."""
        return [part for part in self.parts if part[1] in ("degraded", "failed")]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one refresh of the screen may show; nobody changes anything in it.

    Attributes:
        flows: oldest first; `received` counts all that ever came, the last one's number.
        seconds: those inside the window, oldest first; `totals` are their sums.
        trend: requests by bin of the window, oldest first.
        recent: flows a second of the last 12 seconds, whatever the window.
    """

    now_ns: int
    server: str = ""
    link: Link = Link.CONNECTING
    problem: str = ""
    no_agent: str = ""
    agent: AgentState = field(default_factory=AgentState)
    flows: Sequence[FlowLine] = ()
    received: int = 0
    window: int = WINDOWS[1]
    seconds: Sequence[Second] = ()
    totals: Mapping[Key, Totals] = field(default_factory=dict[Key, Totals])
    trend: Mapping[Key, Sequence[float]] = field(default_factory=dict[Key, Sequence[float]])
    recent: Sequence[float] = ()
    bytes_rate: float = 0.0
    losses: tuple[tuple[str, str, int], ...] = ()
    lost_stream: int = 0
    resident_bytes: int = 0
    cpu_share: float = 0.0
    topology: agent_pb2.RoutesResponse = field(default_factory=agent_pb2.RoutesResponse)

    @property
    def covered(self) -> float:
        """Seconds of the window about which something is known."""
        return sum(second.interval_ns for second in self.seconds) / 1e9

    @property
    def lost(self) -> int:
        """Records, entries and rows lost anywhere on the way here."""
        return sum(n for place, _, n in self.losses if place in LOSING_PLACES) + self.lost_stream


class Store:
    """Receives; not aware of any screen. One writer: the event loop's thread.

    Args:
        clock: Unix time in nanoseconds.
    """

    def __init__(
        self, server: str = "", *, flows: int = FLOWS, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.version = 0  # grows with everything received
        self.slow_version = 0  # the same without flows
        self.server = printable(server)
        self.link = Link.CONNECTING
        self.problem = ""
        self.no_agent = ""
        self.received = 0
        self._clock = clock
        self._flows: deque[FlowLine] = deque(maxlen=flows)
        self._ring: deque[Second] = deque()
        self._window: deque[Second] = deque()
        self._seconds = WINDOWS[1]
        self._totals: dict[Key, Totals] = {}
        self._frozen: _Frozen | None = None
        self._losses: tuple[tuple[str, str, int], ...] = ()
        self._lost_stream = 0
        self._resident_bytes = 0
        self._cpu_share = 0.0
        self._agent = AgentState()
        self._topology = agent_pb2.RoutesResponse()

    @property
    def newest_flow_ns(self) -> int:
        """Time of the newest flow, to go on from after a break; 0 for none."""
        return self._flows[-1].time_ns if self._flows else 0

    def _touch(self, flow_only: bool = False) -> None:
        self.version += 1
        self.slow_version += not flow_only

    def connected(self) -> None:
        """The stream of flows is open."""
        self.link, self.problem = Link.LIVE, ""
        self._touch()

    def disconnected(self, problem: str) -> None:
        """The stream of flows ended; what was received stays."""
        self.link, self.problem = Link.DISCONNECTED, printable(problem)
        self._touch()

    def agent_missing(self, reason: str) -> None:
        """The server's Agent service gave no answer; "" when it does again."""
        self.no_agent = printable(reason)
        self._touch()

    def add_flow(self, flow: flow_pb2.Flow) -> None:
        """Keep a flow, letting the oldest go when full."""
        self.received += 1
        self._flows.append(flow_line(flow, self.received))
        self._touch(flow_only=True)

    def add_lost(self, count: int) -> None:
        """Count flows that the server could not send to us in time."""
        self._lost_stream += count
        self._touch()

    def add_second(self, snapshot: agent_pb2.Snapshot) -> None:
        """Keep what Watch sent; what is older than the newest (sent again) is left out."""
        received = second(snapshot)
        if self._ring and received.time_ns <= self._ring[-1].time_ns:
            return
        self._ring.append(received)
        while received.time_ns - self._ring[0].time_ns >= WINDOWS[-1] * 10**9:
            self._ring.popleft()
        self._enter(received)
        self._frozen = None
        self._losses = tuple(
            (clean(loss.place), clean(loss.reason), loss.count) for loss in snapshot.losses
        )
        self._resident_bytes, self._cpu_share = snapshot.resident_bytes, snapshot.cpu_share
        self._touch()

    def _enter(self, received: Second) -> None:
        self._window.append(received)
        for key, cell in received.cells.items():
            self._totals.setdefault(key, Totals()).add(cell)
        while received.time_ns - self._window[0].time_ns >= self._seconds * 10**9:
            for key, cell in self._window.popleft().cells.items():
                self._totals[key].remove(cell)
                if not self._totals[key].requests:
                    del self._totals[key]

    def set_window(self, seconds: int) -> None:
        """Sum over the last `seconds` (10, 60, 300 or 900) from now on."""
        self._seconds = seconds
        self._window.clear()
        self._totals.clear()
        for received in self._ring:
            self._enter(received)
        self._frozen = None
        self._touch()

    def set_topology(self, routes: agent_pb2.RoutesResponse) -> None:
        """Replace the gateways and routes that are known; their texts become printable."""
        _make_printable(routes)
        self._topology = routes
        self._touch()

    def set_agent(self, status: agent_pb2.StatusResponse) -> None:
        """Replace what the agent says of itself."""
        self._agent = AgentState(
            clean(status.node_name),
            clean(status.cluster_name),
            clean(status.version),
            tuple((clean(p.part), clean(p.state), clean(p.detail)) for p in status.parts),
        )
        self._touch()

    def snapshot(self) -> Snapshot:
        """Everything at this moment."""
        frozen = self._frozen = self._frozen or self._freeze()
        return Snapshot(
            now_ns=self._clock(),
            server=self.server,
            link=self.link,
            problem=self.problem,
            no_agent=self.no_agent,
            agent=self._agent,
            flows=tuple(self._flows),
            received=self.received,
            window=self._seconds,
            seconds=frozen.seconds,
            totals=frozen.totals,
            trend=frozen.trend,
            recent=frozen.recent,
            bytes_rate=frozen.bytes_rate,
            losses=self._losses,
            lost_stream=self._lost_stream,
            resident_bytes=self._resident_bytes,
            cpu_share=self._cpu_share,
            topology=self._topology,
        )

    def _freeze(self) -> "_Frozen":
        last = [s for s in list(self._ring)[-HEADER_SECONDS:] if s.interval_ns]
        return _Frozen(
            seconds=tuple(self._window),
            totals={key: total([cell]) for key, cell in self._totals.items()},
            trend=trend(self._window, self._seconds),
            recent=[s.flows * 1e9 / s.interval_ns for s in last],
            bytes_rate=last[-1].bytes * 1e9 / last[-1].interval_ns if last else 0.0,
        )


class _Frozen(NamedTuple):
    """What changes only with a new second or another window."""

    seconds: tuple[Second, ...]
    totals: Mapping[Key, Totals]
    trend: Mapping[Key, Sequence[float]]
    recent: Sequence[float]
    bytes_rate: float


def trend(seconds: Iterable[Second], window: int) -> dict[Key, list[float]]:
    """Requests a second by key, in at most 30 bins that end with the newest second."""
    span = [s for s in seconds if s.interval_ns]
    if not span:
        return {}
    width = max(window / BINS, 1.0)
    count = round(window / width)
    last = int(span[-1].time_ns / 1e9 / width)
    covered = [0.0] * count
    result: dict[Key, list[float]] = {}
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
    """Pass every string of a message without maps through `printable`, in place."""
    for described, value in message.ListFields():
        if isinstance(value, str):
            setattr(message, described.name, printable(value))
        elif described.type == described.TYPE_STRING:
            value[:] = map(printable, value)
        elif described.type == described.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                _make_printable(inner)
