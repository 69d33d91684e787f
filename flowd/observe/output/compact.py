"""Line formats of `flowd observe`: compact, as hubble prints it, and wide."""

from dataclasses import replace

from flowd.observe.output import fields
from flowd.observe.output.route import route_pairs
from flowd.observe.output.style import Style, clean
from flowd.wire.flow.flow_pb2 import Flow
from flowd.wire.observer.observer_pb2 import GetFlowsResponse
from flowd.wire.relay.relay_pb2 import NODE_CONNECTED, NODE_ERROR, NODE_UNAVAILABLE


class Compact:
    """`time [node]: source (id) -> destination (id) TYPE VERDICT (summary)`."""

    def __init__(self, style: Style) -> None:
        self._style = style

    def flow(self, response: GetFlowsResponse) -> str:
        return self.line(response) + "\n"

    def line(self, response: GetFlowsResponse) -> str:
        """The line without its end; a reply shows the client on the left, as its request does."""
        flow, style = response.flow, self._style
        source, destination = fields.hosts(flow, style)
        source_id = fields.identity(flow.source, style)
        destination_id = fields.identity(flow.destination, style)
        arrow = "<>"
        if flow.HasField("is_reply"):
            arrow = "<-" if flow.is_reply.value else "->"
        if arrow == "<-":
            source, destination = destination, source
            source_id, destination_id = destination_id, source_id
        node = f" [{fields.node(response)}]" if style.node_name else ""
        return (
            f"{style.time(fields.when(response))}{node}: {source} {source_id} {arrow} "
            f"{destination} {destination_id} {fields.kind(flow)} {fields.verdict(flow, style)} "
            f"({fields.summary(flow, style)})"
        )

    def lost(self, response: GetFlowsResponse) -> str:
        lost, style = response.lost_events, self._style
        return (
            f"{style.time(response.time)} EVENTS LOST: {fields.lost_source(lost)} "
            f"CPU({lost.cpu.value}) {lost.num_events_lost}{fields.lost_span(lost, style)}\n"
        )

    def node_status(self, response: GetFlowsResponse) -> str:
        status, style = response.node_status, self._style
        names = f"{len(status.node_names)} nodes"
        match status.state_change:
            case state if state == NODE_UNAVAILABLE:
                text = f"{names} are unavailable: {fields.joined(status.node_names)}"
            case state if state == NODE_ERROR:
                message = clean(status.message).replace('"', '\\"')
                text = f'Error "{message}" on {names}: {fields.joined(status.node_names)}'
            case state if not style.debug:
                return ""
            case state if state == NODE_CONNECTED:
                text = f"Receiving flows from {names}: {fields.joined(status.node_names)}"
            case state:
                text = f"{fields.state_name(state)} {names}: {fields.joined(status.node_names)}"
        return f"{style.time(response.time)} [{clean(response.node_name)}]: {text}\n"

    def end(self) -> str:
        return ""


class Wide(Compact):
    """Compact with the node, and addresses, route and backend as `key=value`."""

    def __init__(self, style: Style) -> None:
        super().__init__(replace(style, node_name=True))

    def flow(self, response: GetFlowsResponse) -> str:
        paint = self._style.paint
        pairs = [*self._addresses(response.flow), *route_pairs(response.flow)]
        return " ".join([self.line(response), *(f"{k}={paint.route(v)}" for k, v in pairs)]) + "\n"

    def _addresses(self, flow: Flow) -> list[tuple[str, str]]:
        if not self._style.names or not flow.HasField("IP"):
            return []
        source, destination = clean(flow.IP.source), clean(flow.IP.destination)
        if flow.is_reply.value:
            source, destination = destination, source
        return [("src", source), ("dst", destination)]
