"""Print and count the responses of `flowd observe`; end quietly on a closed pipe."""

import os
import sys
from collections.abc import AsyncIterable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from flowd.observe.output.printers import Printer
from flowd.text import count
from flowd.wire.observer.observer_pb2 import GetFlowsResponse


@dataclass(slots=True)
class Counts:
    """Flows received, and events that the server reports as lost."""

    flows: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"{count(self.flows)} flows, {count(self.lost)} lost"


async def print_all(
    responses: AsyncIterable[GetFlowsResponse], printer: Printer, counts: Counts, *, silent: bool
) -> None:
    """Print flows and lost events on stdout, node states on stderr, until the stream ends."""
    async for response in responses:
        print_one(response, printer, counts, silent=silent)
    write(printer.end())


def print_one(
    response: GetFlowsResponse, printer: Printer, counts: Counts, *, silent: bool
) -> None:
    """Print one response and count it."""
    match response.WhichOneof("response_types"):
        case "flow":
            counts.flows += 1
            write(printer.flow(response))
        case "lost_events":
            counts.lost += response.lost_events.num_events_lost
            write(printer.lost(response))
        case "node_status":
            if not silent:
                click.echo(printer.node_status(response), nl=False, err=True)
        case _:
            pass


def write(text: str) -> None:
    """Write text to stdout without change."""
    if text:
        click.echo(text, nl=False, color=True)


@contextmanager
def quiet_pipe() -> Generator[None]:
    """Treat a closed pipe, as in `| head`, as the normal end."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
