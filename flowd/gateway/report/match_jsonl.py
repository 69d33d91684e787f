"""Simulate requests from JSON lines; write the results as JSON lines (`flowd routes match`)."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from flowd.gateway.report.simulate import Request, SimulationResult, match_request
from flowd.gateway.table.route_table import RouteTable

MAX_LINE = 1 << 20


def answer_lines(table: RouteTable, requests: BinaryIO, answers: BinaryIO) -> list[tuple[int, str]]:
    """Answer every line that is not blank, in order.

    An invalid line gets a rejection with the reason `bad_request: ...`.

    Returns:
        Line number (from 1) and error of each invalid line.
    """
    decode = msgspec.json.Decoder(Request).decode
    failures: list[tuple[int, str]] = []
    for number, line in _lines(requests):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE:
                raise msgspec.DecodeError(f"longer than {MAX_LINE} bytes")
            outcome = match_request(table, decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            failures.append((number, str(error)))
            outcome = SimulationResult(
                gateway="", listener="", action="reject", reason=f"bad_request: {error}"
            )
        answers.write(msgspec.json.encode(outcome) + b"\n")
    answers.flush()
    return failures


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines; only the beginning of a line over MAX_LINE bytes is kept."""
    number = 0
    while line := stream.readline(MAX_LINE + 2):
        number += 1
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(MAX_LINE)
        yield number, line
