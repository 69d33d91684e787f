"""Output formats of `flowd observe`: each turns one response into text for stdout."""

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
    """One output format."""

    def flow(self, response: GetFlowsResponse) -> str:
        """Text of a flow, with its line ends."""
        ...

    def lost(self, response: GetFlowsResponse) -> str:
        """Text of a lost event."""
        ...

    def node_status(self, response: GetFlowsResponse) -> str:
        """Text of a node's state, for stderr; "" for states not worth telling."""
        ...

    def end(self) -> str:
        """What can be printed only when everything is there."""
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
    """A message as one line of JSON in which no control or invisible character stands."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", flow_to_json(message)) + "\n"


def printer(form: str, style: Style) -> Printer:
    """The printer of one of FORMATS."""
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
