"""Ask a server for health and status, and format them for `flowd status`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowd.client.client import Client
from flowd.client.errors import Unimplemented
from flowd.observe.options.times import exact_duration, format_duration
from flowd.observe.output.style import clean
from flowd.observe.output.table import columns
from flowd.text import count, iec
from flowd.wire.flowd.agent_pb2 import StatusResponse
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import ServerStatusResponse

_KEY = 19


@dataclass(frozen=True, slots=True)
class Report:
    """Status of one server; `agent` is None for a server that is not a flowd agent."""

    server: str
    health: str
    hubble: ServerStatusResponse
    agent: StatusResponse | None

    @property
    def serving(self) -> bool:
        """Whether the health service reports SERVING."""
        return self.health == "SERVING"


async def ask(client: Client) -> Report:
    """Ask a server for its health and status.

    Raises:
        ConnectError, TimedOut, FlowdError: the server cannot be reached or does not answer.
    """
    async with client:
        health = await client.health()
        if health != "SERVING":
            return Report(client.server, health, ServerStatusResponse(), None)
        status = await client.server_status()
        try:
            agent = await client.agent_status()
        except Unimplemented:
            agent = None
        return Report(client.server, health, status, agent)


def compact(report: Report) -> str:
    """Lines of `hubble status`, then parts and losses of a flowd agent."""
    lines = [f"Healthcheck (via {clean(report.server)}): {_health(report)}"]
    if not report.serving:
        return lines[0] + "\n"
    hubble, agent = report.hubble, report.agent
    occupancy = f"{count(hubble.num_flows)}/{count(hubble.max_flows)}"
    lines.append(f"Current/Max Flows: {occupancy}{_percent(hubble.num_flows, hubble.max_flows)}")
    lines.append(f"Flows/s: {_rate(hubble, fallback=True)}")
    if hubble.HasField("num_connected_nodes"):
        connected = hubble.num_connected_nodes.value
        nodes = connected + hubble.num_unavailable_nodes.value
        lines.append(f"Connected Nodes: {connected}/{nodes}")
    if hubble.HasField("num_unavailable_nodes") and hubble.num_unavailable_nodes.value:
        lines.append(f"Unavailable Nodes: {hubble.num_unavailable_nodes.value}")
        lines += [f"  - {clean(name)}" for name in hubble.unavailable_nodes]
    lines.append(f"Uptime: {format_duration(hubble.uptime_ns)}")
    if agent:
        lines += _agent_lines(agent)
    return "\n".join(lines) + "\n"


def _agent_lines(agent: StatusResponse) -> list[str]:
    name = f"{agent.cluster_name}/{agent.node_name}" if agent.cluster_name else agent.node_name
    parts = [["  " + clean(p.part), clean(p.state), clean(p.detail)] for p in agent.parts]
    losses = [
        ["  " + clean(loss.place), clean(loss.reason), count(loss.count)]
        for loss in agent.losses
        if loss.count
    ]
    lines = [
        f"Node: {clean(name)}, flowd {clean(agent.version)}",
        f"Connections: {count(agent.live_connections)}",
        f"Memory: {iec(agent.resident_bytes)} resident, {agent.cpu_seconds:.1f} s CPU",
    ]
    lines += ["Parts:", *_aligned(parts)] if parts else []
    return lines + (["Lost:", *_aligned(losses)] if losses else ["Lost: nothing"])


def _aligned(rows: list[list[str]]) -> list[str]:
    return [line.rstrip() for line in columns(rows).splitlines()]


def as_dict(report: Report) -> str:
    """Keys of `hubble status -o dict`, right-aligned, one a line."""
    if not report.serving:
        return compact(report)
    cells = _cells(report, short=True)
    return "".join(f"{key:>{_KEY}}: {value}\n" for key, value in cells)


def as_table(report: Report) -> str:
    """Table of `hubble status -o table`, one row."""
    if not report.serving:
        return compact(report)
    cells = _cells(report, short=False)
    return columns([[key for key, _ in cells], [value for _, value in cells]])


def as_json(report: Report) -> str:
    """One JSON object: health, ServerStatusResponse, and the agent's StatusResponse as `agent`."""
    answer: dict[str, Any] = {"server": report.server, "health": report.health}
    if report.serving:
        answer |= json.loads(flow_to_json(report.hubble))
    if report.agent:
        answer["agent"] = json.loads(flow_to_json(report.agent))
    return json.dumps(answer) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "compact": compact,
    "dict": as_dict,
    "table": as_table,
    "json": as_json,
}


def _health(report: Report) -> str:
    return "Ok" if report.serving else f"Unavailable: {report.health}"


def _percent(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.2f}%)" if whole else ""


def _rate(hubble: ServerStatusResponse, *, fallback: bool) -> str:
    if hubble.flows_rate:
        return f"{hubble.flows_rate:.2f}"
    if fallback and hubble.uptime_ns:
        return f"{hubble.seen_flows / (hubble.uptime_ns / 1e9):.2f}"
    return "N/A"


def _cells(report: Report, *, short: bool) -> list[tuple[str, str]]:
    hubble = report.hubble
    connected = count(hubble.num_connected_nodes.value)
    unavailable = count(hubble.num_unavailable_nodes.value)
    return [
        ("NUM FLOWS", count(hubble.num_flows)),
        ("MAX FLOWS", count(hubble.max_flows)),
        ("SEEN FLOWS", count(hubble.seen_flows)),
        ("FLOWS PER SECOND", _rate(hubble, fallback=False)),
        ("UPTIME", exact_duration(hubble.uptime_ns)),
        (
            "NUM CONNECTED NODES",
            connected if hubble.HasField("num_connected_nodes") else "N/A",
        ),
        (
            "NUM UNAVAIL. NODES" if short else "NUM UNAVAILABLE NODES",
            unavailable if hubble.HasField("num_unavailable_nodes") else "N/A",
        ),
        ("VERSION", clean(hubble.version)),
    ]
