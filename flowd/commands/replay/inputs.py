"""Read recorded access logs (text, JSON, ALS, OTLP, flow logs) into batches of REQUEST rows."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.accesslog.lines_to_rows import MAX_LINE, Form, LineParser
from flowd.accesslog.snippet import Format
from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier, stream_identifier
from flowd.capture.logs.otlp_entries import OtlpEntries
from flowd.capture.logs.wrapping import Unwrapper
from flowd.commands.replay.flows import FlowLogParser, Recorded
from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.wire.als.als_pb2 import Envelope

InputFormat: TypeAlias = Literal["auto", "json", "text", "als", "otlp", "flows"]
if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

InputKind: TypeAlias = InputFormat | Literal["framed"]
ROWS = 2048
MAX_MESSAGE = 64 << 20
_SNIFF = 64 << 10


@dataclass(frozen=True, slots=True)
class RecordedEntries:
    """Access-log entries in the order of the file.

    Attributes:
        batch: one row an entry, shape (n,).
        recorded: by row, the route that a flow log recorded with the entry.
        input: name of the file.
    """

    batch: RequestBatch
    recorded: dict[int, Recorded] = field(default_factory=dict[int, Recorded])
    input: str = ""


def read_entries(
    name: str, form: InputKind, formats: Sequence[Format], losses: Losses
) -> Iterator[RecordedEntries]:
    """Entries of a file, plain or gzip, in batches of about ROWS; malformed input is counted.

    Args:
        name: path of the file; `-` is standard input.
        form: kind of the input; `auto` decides by the first bytes.
        formats: access-log formats to try before the built-in ones.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        raw = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115
        with raw:
            stream = io.BufferedReader(cast("io.RawIOBase", raw), _SNIFF)
            if stream.peek(2)[:2] == b"\x1f\x8b":
                stream = io.BufferedReader(_Unzipped(stream, losses), _SNIFF)
            if form == "auto":
                form = _sniff_kind(stream.peek(_SNIFF))
            match form:
                case "als" | "otlp" | "framed":
                    yield from _messages(_frames(stream, losses), form, formats, losses)
                case "flows":
                    yield from _flows(stream, losses)
                case _:
                    yield from _lines(stream, form, formats, losses)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from error


class _Unzipped(io.RawIOBase):
    """A decompressed gzip stream that ends at the first damaged byte and counts the damage."""

    def __init__(self, stream: BinaryIO, losses: Losses) -> None:
        self._file = gzip.GzipFile(fileobj=stream)
        self._losses = losses
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer)
        try:
            data = b"" if self._ended else self._file.read1(len(view))
        except (gzip.BadGzipFile, EOFError, zlib.error):
            self._losses.add(Place.ACCESS_LOG, "truncated")
            self._ended, data = True, b""
        view[: len(data)] = data
        return len(data)


def _sniff_kind(start: bytes) -> InputKind:
    """Kind of an input by its first bytes; LineParser tells JSON and text lines apart itself."""
    if start[:1] == b"\0":
        return "framed"
    first = start.partition(b"\n")[0]
    if first.lstrip().startswith((b'{"flow":', b'{"lost_events":', b'{"node_status":')):
        return "flows"
    return "auto"


def _messages(
    frames: Iterator[bytes], form: InputKind, formats: Sequence[Format], losses: Losses
) -> Iterator[RecordedEntries]:
    first = next(frames, None)
    if first is not None:
        is_als = form == "als" or (form == "framed" and _is_als(first))
        frames = chain([first], frames)
        yield from _als(frames, losses) if is_als else _otlp(frames, formats, losses)


def _is_als(frame: bytes) -> bool:
    """Whether a frame is a StreamAccessLogsMessage; ExportLogsServiceRequest has only field 1."""
    try:
        fields = Envelope.FromString(frame).ListFields()
    except DecodeError:
        return False
    return bool(fields) and fields[-1][0].number > 1


def _lines(
    stream: BinaryIO, form: Form, formats: Sequence[Format], losses: Losses
) -> Iterator[RecordedEntries]:
    parser = LineParser(losses, formats, final_only=False, form=form)
    wrapping = Unwrapper(losses)
    for raw in _bounded_lines(stream, losses):
        line = wrapping.feed(raw)
        if line is not None:
            parser.add(line)
        if len(parser) >= ROWS:
            yield RecordedEntries(parser.take())
    yield RecordedEntries(parser.take())


def _flows(stream: BinaryIO, losses: Losses) -> Iterator[RecordedEntries]:
    flows = FlowLogParser(losses)
    for line in _bounded_lines(stream, losses):
        flows.add(line)
        if len(flows) >= ROWS:
            yield RecordedEntries(*flows.take())
    yield RecordedEntries(*flows.take())


def _als(frames: Iterator[bytes], losses: Losses) -> Iterator[RecordedEntries]:
    decoder, source = EntryDecoder(losses, final_only=False), StreamIdentifier()
    for frame in frames:
        try:
            message = Envelope.FromString(frame)
        except DecodeError:
            losses.add(Place.ACCESS_LOG, "malformed")
            continue
        source = stream_identifier(message, source)
        decoder.add(message, source, 0)
        if len(decoder) >= ROWS:
            yield RecordedEntries(decoder.take())
    yield RecordedEntries(decoder.take())


def _otlp(
    frames: Iterator[bytes], formats: Sequence[Format], losses: Losses
) -> Iterator[RecordedEntries]:
    entries = OtlpEntries(losses, formats, final_only=False)
    for frame in frames:
        try:
            entries.add(ExportLogsServiceRequest.FromString(frame))
        except DecodeError:
            losses.add(Place.ACCESS_LOG, "malformed")
        if len(entries) >= ROWS:
            yield RecordedEntries(entries.take())
    yield RecordedEntries(entries.take())


def _frames(stream: BinaryIO, losses: Losses) -> Iterator[bytes]:
    """Messages behind 4-byte big-endian lengths; ends at a truncated or too large message."""
    while head := stream.read(4):
        size = int.from_bytes(head, "big")
        if len(head) < 4 or size > MAX_MESSAGE:
            losses.add(Place.ACCESS_LOG, "truncated" if len(head) < 4 else "message_too_large")
            return
        frame = stream.read(size)
        if len(frame) < size:
            losses.add(Place.ACCESS_LOG, "truncated")
            return
        yield frame


def _bounded_lines(stream: BinaryIO, losses: Losses) -> Iterator[bytes]:
    """Lines without their ends; longer ones are cut to MAX_LINE bytes and counted."""
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            losses.add(Place.ACCESS_LOG, "line_too_long")
            while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        yield line.rstrip(b"\r\n")[:MAX_LINE]
