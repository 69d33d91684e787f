"""Field formats of `flowd observe`: dict and table."""

from flowd.observe.output import fields
from flowd.observe.output.compact import Compact
from flowd.observe.output.style import Style, clean
from flowd.observe.output.table import columns
from flowd.wire.observer.observer_pb2 import GetFlowsResponse


class Dict:
    """One field a line, with a rule between records."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._compact = Compact(style)
        self._first = True

    def _record(self, response: GetFlowsResponse, *rows: tuple[str, str]) -> str:
        start = "" if self._first else "------------\n"
        self._first = False
        return start + "".join(
            f"{key:>11}: {value}\n" for key, value in (*self._head(response), *rows)
        )

    def _head(self, response: GetFlowsResponse) -> list[tuple[str, str]]:
        head = [("TIMESTAMP", self._style.time(fields.when(response)))]
        return [*head, ("NODE", fields.node(response))] if self._style.node_name else head

    def flow(self, response: GetFlowsResponse) -> str:
        flow = response.flow
        source, destination = fields.hosts(flow, self._style)
        return self._record(
            response,
            ("SOURCE", source),
            ("DESTINATION", destination),
            ("TYPE", fields.kind(flow)),
            ("VERDICT", fields.verdict(flow, self._style)),
            ("SUMMARY", fields.summary(flow, self._style)),
        )

    def lost(self, response: GetFlowsResponse) -> str:
        lost = response.lost_events
        return self._record(
            response,
            ("SOURCE", fields.lost_source(lost)),
            ("TYPE", "EVENTS LOST"),
            ("VERDICT", "-"),
            ("SUMMARY", fields.lost_summary(lost, self._style)),
        )

    def node_status(self, response: GetFlowsResponse) -> str:
        if not self._compact.node_status(response):
            return ""
        status = response.node_status
        message = '"' + clean(status.message).replace('"', '\\"') + '"'
        rows = [
            ("TIMESTAMP", self._style.time(response.time)),
            ("STATE", fields.state_name(status.state_change)),
            ("NODES", fields.joined(status.node_names)),
            ("MESSAGE", message if status.message else "N/A"),
        ]
        return "".join(f"{key:>11}: {value}\n" for key, value in rows)

    def end(self) -> str:
        return ""


class Table:
    """Aligned columns, printed after the last flow."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._compact = Compact(style)
        self._rows: list[list[str]] = []

    def _add(self, response: GetFlowsResponse, *cells: str) -> str:
        node = [fields.node(response)] if self._style.node_name else []
        self._rows.append([self._style.time(fields.when(response)), *node, *cells])
        return ""

    def flow(self, response: GetFlowsResponse) -> str:
        flow = response.flow
        source, destination = fields.hosts(flow, self._style)
        kind, outcome = fields.kind(flow), fields.verdict(flow, self._style)
        return self._add(
            response, source, destination, kind, outcome, fields.summary(flow, self._style)
        )

    def lost(self, response: GetFlowsResponse) -> str:
        lost = response.lost_events
        summary = fields.lost_summary(lost, self._style)
        return self._add(response, fields.lost_source(lost), "-", "EVENTS LOST", "-", summary)

    def node_status(self, response: GetFlowsResponse) -> str:
        return self._compact.node_status(response)

    def end(self) -> str:
        if not self._rows:
            return ""
        node = ["NODE"] if self._style.node_name else []
        header = ["TIMESTAMP", *node, "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"]
        return columns([header, *self._rows])
