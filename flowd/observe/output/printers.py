"""Printer protocol of `flowd observe`, its JSON printer, and the choice of a printer by format."""

import re
from dataclasses import replace
from typing import Protocol

from google.protobuf.message import Message

from flowd.observe.output.compact import Compact, Wide
from flowd.observe.output.records import Dict, Table
from flowd.observe.output.style import Paint, Style
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import GetFlowsResponse

FORMATS = ("compact", "wide", "dict", "table", "json", "jsonpb")

_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Printer(Protocol):
    """Formats responses, one at a time, as text for stdout."""

    def flow(self, response: GetFlowsResponse) -> str:
        """Text of a flow with line ends."""
        ...

    def lost(self, response: GetFlowsResponse) -> str:
        """Text of a lost event."""
        ...

    def node_status(self, response: GetFlowsResponse) -> str:
        """Text of a node's state for stderr; "" for states that are only shown with --debug."""
        ...

    def end(self) -> str:
        """Text that follows the last response, such as the rows of a table."""
        ...


class Json:
    """One GetFlowsResponse a line, as proto3 JSON in declaration order."""

    def flow(self, response: GetFlowsResponse) -> str:
        return json_line(response)

    lost = flow
    node_status = flow

    def end(self) -> str:
        return ""


def json_line(message: Message) -> str:
    """A message as one line of JSON, with control and invisible characters escaped."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", flow_to_json(message)) + "\n"


def printer(form: str, style: Style) -> Printer:
    """A printer of one of FORMATS."""
    match form:
        case "json" | "jsonpb":
            return Json()
        case "table":
            return Table(replace(style, paint=Paint()))
        case "dict":
            return Dict(style)
        case "wide":
            return Wide(style)
        case _:
            return Compact(style)
