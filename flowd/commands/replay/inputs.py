"""Recorded access logs of every kind, as batches of entries in the order of the file."""

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
from flowd.capture.envoy.decode import EntryDecoder, Source, source_of
from flowd.capture.logs.otlp_entries import OtlpEntries
from flowd.capture.logs.wrapping import Unwrapper
from flowd.commands.replay.flows import FlowLines, Recorded
from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.wire.als.als_pb2 import Envelope

InputFormat: TypeAlias = Literal["auto", "json", "text", "als", "otlp", "flows"]
if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Kind: TypeAlias = InputFormat | Literal["framed"]
ROWS = 2048
MAX_MESSAGE = 64 << 20
_SNIFF = 64 << 10


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries in order; `recorded` holds what a flow log already tells of the route, by row."""

    batch: RequestBatch
    recorded: dict[int, Recorded] = field(default_factory=dict[int, Recorded])


def read_entries(
    name: str, form: Kind, formats: Sequence[Format], losses: Losses
) -> Iterator[Entries]:
    """The entries of a file, plain or gzip; `-` is standard input. What is malformed is counted.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        raw = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115
        with raw:
            stream = io.BufferedReader(cast("io.RawIOBase", raw), _SNIFF)
            if stream.peek(2)[:2] == b"\x1f\x8b":
                stream = io.BufferedReader(_Unzipped(stream, losses), _SNIFF)
            if form == "auto":
                form = _sniffed(stream.peek(_SNIFF))
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
    """A gzip stream that ends where it is damaged, which is counted."""

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


def _sniffed(start: bytes) -> Kind:
    """The kind of input that begins so; lines of access logs tell by themselves what they are."""
    if start[:1] == b"\0":
        return "framed"
    first = start.partition(b"\n")[0]
    if first.lstrip().startswith((b'{"flow":', b'{"lost_events":', b'{"node_status":')):
        return "flows"
    return "auto"


def _messages(
    frames: Iterator[bytes], form: Kind, formats: Sequence[Format], losses: Losses
) -> Iterator[Entries]:
    first = next(frames, None)
    if first is not None:
        is_als = form == "als" or (form == "framed" and _is_als(first))
        frames = chain([first], frames)
        yield from _als(frames, losses) if is_als else _otlp(frames, formats, losses)


def _is_als(frame: bytes) -> bool:
    """Whether a frame is a StreamAccessLogsMessage: an export request has field 1 alone."""
    try:
        fields = Envelope.FromString(frame).ListFields()
    except DecodeError:
        return False
    return bool(fields) and fields[-1][0].number > 1


def _lines(
    stream: BinaryIO, form: Form, formats: Sequence[Format], losses: Losses
) -> Iterator[Entries]:
    parser = LineParser(losses, formats, ends_only=False, form=form)
    wrapping = Unwrapper(losses)
    for raw in _whole_lines(stream, losses):
        line = wrapping.feed(raw)
        if line is not None:
            parser.add(line)
        if len(parser) >= ROWS:
            yield Entries(parser.take())
    yield Entries(parser.take())


def _flows(stream: BinaryIO, losses: Losses) -> Iterator[Entries]:
    flows = FlowLines(losses)
    for line in _whole_lines(stream, losses):
        flows.add(line)
        if len(flows) >= ROWS:
            yield Entries(*flows.take())
    yield Entries(*flows.take())


def _als(frames: Iterator[bytes], losses: Losses) -> Iterator[Entries]:
    decoder, source = EntryDecoder(losses, ends_only=False), Source()
    for frame in frames:
        try:
            message = Envelope.FromString(frame)
        except DecodeError:
            losses.add(Place.ACCESS_LOG, "malformed")
            continue
        source = source_of(message, source)
        decoder.add(message, source, 0)
        if len(decoder) >= ROWS:
            yield Entries(decoder.take())
    yield Entries(decoder.take())


def _otlp(frames: Iterator[bytes], formats: Sequence[Format], losses: Losses) -> Iterator[Entries]:
    entries = OtlpEntries(losses, formats, ends_only=False)
    for frame in frames:
        try:
            entries.add(ExportLogsServiceRequest.FromString(frame))
        except DecodeError:
            losses.add(Place.ACCESS_LOG, "malformed")
        if len(entries) >= ROWS:
            yield Entries(entries.take())
    yield Entries(entries.take())


def _frames(stream: BinaryIO, losses: Losses) -> Iterator[bytes]:
    """Messages behind 4-byte big-endian lengths; ends where one is cut short or absurd."""
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


def _whole_lines(stream: BinaryIO, losses: Losses) -> Iterator[bytes]:
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            losses.add(Place.ACCESS_LOG, "line_too_long")
            while (rest := stream.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
        yield line.rstrip(b"\r\n")[:MAX_LINE]
