"""Format agent and debug events, as hubble prints them."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from flowd.observe.options.types import enum_name
from flowd.observe.output.printers import json_line
from flowd.observe.output.style import Style, clean
from flowd.observe.output.table import columns
from flowd.wire.flow.flow_pb2 import AgentEvent, AgentEventType, DebugEvent, DebugEventType
from flowd.wire.observer.observer_pb2 import GetAgentEventsResponse, GetDebugEventsResponse

Response: TypeAlias = GetAgentEventsResponse | GetDebugEventsResponse

_NONE = "N/A"


class EventPrinter:
    """Formats responses for stdout; `form` is compact, dict, table or json."""

    def __init__(self, form: str, style: Style) -> None:
        self._form = form
        self._style = style
        self._rows: list[list[str]] = []
        self._first = True

    def text(self, response: Response) -> str:
        """Text of an event with line ends; "" for a table, which is printed by `end`."""
        match self._form:
            case "json":
                return json_line(response)
            case "table":
                self._table(response)
                return ""
            case "dict":
                return self._dict(response)
            case _:
                return self._compact(response)

    def end(self) -> str:
        """The table; "" in the other formats."""
        return columns(self._rows) if self._rows else ""

    def _head(self, response: Response) -> list[tuple[str, str]]:
        stamp = response.time if response.HasField("time") else None
        head = [("TIMESTAMP", self._style.time(stamp))]
        return [*head, ("NODE", clean(response.node_name))] if self._style.node_name else head

    def _compact(self, response: Response) -> str:
        when, *node = [value for _, value in self._head(response)]
        start = when + "".join(f" [{name}]" for name in node)
        if isinstance(response, GetAgentEventsResponse):
            kind, details = _agent(response.agent_event, self._style)
            return f"{start}: {kind} ({details})\n"
        origin, kind, mark, cpu, message = _debug(response.debug_event)
        return f"{start}: {origin} {kind} MARK: {mark} CPU: {cpu} ({message})\n"

    def _dict(self, response: Response) -> str:
        start = "" if self._first else "------------\n"
        self._first = False
        if isinstance(response, GetAgentEventsResponse):
            rows = [
                *zip(("TYPE", "DETAILS"), _agent(response.agent_event, self._style), strict=True)
            ]
        else:
            origin, kind, mark, cpu, message = _debug(response.debug_event)
            rows = [("TYPE", kind), ("FROM", origin), ("MARK", mark), ("CPU", cpu)]
            rows.append(("MESSAGE", message))
        lines = (f"{key:>11}: {value}\n" for key, value in (*self._head(response), *rows))
        return start + "".join(lines)

    def _table(self, response: Response) -> None:
        head = self._head(response)
        if isinstance(response, GetAgentEventsResponse):
            names, cells = ["TYPE", "DETAILS"], _agent(response.agent_event, self._style)
        else:
            origin, kind, mark, cpu, message = _debug(response.debug_event)
            names = ["FROM", "TYPE", "CPU/MARK", "MESSAGE"]
            cells = (origin, kind, f"{cpu} {mark}", message)
        if not self._rows:
            self._rows.append([name for name, _ in head] + names)
        self._rows.append([*(value for _, value in head), *cells])


def _agent(event: AgentEvent, style: Style) -> tuple[str, str]:
    """Cells TYPE and DETAILS."""
    kind = event.WhichOneof("notification")
    details = _DETAILS[kind](event, style) if kind else "UNKNOWN"
    return enum_name(AgentEventType, event.type), clean(details)


def _unknown(event: AgentEvent, style: Style) -> str:
    return f"type: {event.unknown.type}, notification: {event.unknown.notification}"


def _start(event: AgentEvent, style: Style) -> str:
    return f"start time: {style.time(event.agent_start.time)}"


def _policy(event: AgentEvent, style: Style) -> str:
    body = event.policy_update
    return f"labels: {_list(body.labels)}, revision: {body.revision}, count: {body.rule_count}"


def _regenerated(event: AgentEvent, style: Style) -> str:
    body = event.endpoint_regenerate
    text = f"id: {body.id}, labels: {_list(body.labels)}"
    return f"{text}, error: {body.error}" if body.error else text


def _endpoint(event: AgentEvent, style: Style) -> str:
    body = event.endpoint_update
    parts = [f"id: {body.id}"]
    parts += [f"namespace: {body.namespace}"] if body.namespace else []
    parts += [f"pod name: {body.pod_name}"] if body.pod_name else []
    return ", ".join(parts)


def _address(event: AgentEvent, style: Style) -> str:
    body = event.ipcache_update
    parts = [f"cidr: {body.cidr}", f"identity: {body.identity}"]
    if body.HasField("old_identity"):
        parts.append(f"old identity: {body.old_identity.value}")
    parts += [f"host ip: {body.host_ip}"] if body.host_ip else []
    parts += [f"old host ip: {body.old_host_ip}"] if body.old_host_ip else []
    return ", ".join([*parts, f"encrypt key: {body.encrypt_key}"])


def _service(event: AgentEvent, style: Style) -> str:
    body = event.service_upsert
    parts = [f"id: {body.id}"]
    if body.HasField("frontend_address"):
        parts.append(f"frontend: {body.frontend_address.ip}:{body.frontend_address.port}")
    backends = [f"{one.ip}:{one.port}" for one in body.backend_addresses]
    parts += [f"backends: {_list(backends)}"] if backends else []
    parts += [f"type: {body.type}"] if body.type else []
    parts += [f"namespace: {body.namespace}"] if body.namespace else []
    return ", ".join([*parts, f"name: {body.name}"] if body.name else parts)


def _service_deleted(event: AgentEvent, style: Style) -> str:
    return f"id: {event.service_delete.id}"


_DETAILS: dict[str, Callable[[AgentEvent, Style], str]] = {
    "unknown": _unknown,
    "agent_start": _start,
    "policy_update": _policy,
    "endpoint_regenerate": _regenerated,
    "endpoint_update": _endpoint,
    "ipcache_update": _address,
    "service_upsert": _service,
    "service_delete": _service_deleted,
}


def _list(values: Iterable[str]) -> str:
    return f"[{','.join(values)}]"


def _debug(event: DebugEvent) -> tuple[str, str, str, str, str]:
    """Cells FROM, TYPE, MARK, CPU and MESSAGE."""
    origin = _NONE
    if event.HasField("source"):
        name = f"{event.source.namespace}/{event.source.pod_name}"
        origin = clean(f"{name} (ID: {event.source.ID})" if len(name) > 1 else f"{event.source.ID}")
    mark = f"0x{event.hash.value:x}" if event.HasField("hash") else _NONE
    cpu = f"{event.cpu.value:02d}" if event.HasField("cpu") else _NONE
    return origin, enum_name(DebugEventType, event.type), mark, cpu, clean(event.message)
