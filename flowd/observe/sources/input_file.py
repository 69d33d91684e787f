"""Read flows from a file of JSON lines (`--input-file`), filtered like a server would."""

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from google.protobuf.json_format import ParseDict, ParseError

from flowd.errors import FlowdError, UsageError
from flowd.filter import message_filter, route_filter
from flowd.observe.options.window import Window
from flowd.observe.output.fields import when
from flowd.text import printable
from flowd.wire.flow.flow_pb2 import Flow
from flowd.wire.observer.observer_pb2 import GetFlowsRequest, GetFlowsResponse

if TYPE_CHECKING:
    from io import BufferedReader

MAX_LAST = 1_000_000
MAX_LINE = 4 << 20

_GZIP = b"\x1f\x8b"
_WARNINGS = 10
_ABSENCE_FIELDS = {"source_label", "destination_label", "node_labels", "encrypted"}
_OTHER_EVENTS = ("agent_event", "debug_event")

Warn = Callable[[str], None]


def flows_of_file(path: str, request: GetFlowsRequest, warn: Warn) -> Iterator[GetFlowsResponse]:
    """Responses of a file that match a request; its field mask and `follow` are ignored.

    As in hubble, every line counts for `--first` and `--last`, also events that are not flows
    (agent events become empty responses), and only flows pass an allowlist.

    Args:
        path: a file, plain or gzip; `-` is standard input.
        warn: called with a message for each of the first skipped lines.

    Raises:
        UsageError: the file cannot be read, or a filter is invalid.
        FlowdError: the file cannot be read further.
    """
    if not request.first and MAX_LAST < request.number < 2**64 - 1:
        raise UsageError(f"--last: at most {MAX_LAST:,} with --input-file")
    passes = message_filter(request.whitelist, request.blacklist, route_filter(request.extensions))
    others_pass = _others_pass(request)
    since = request.since.ToNanoseconds() if request.HasField("since") else None
    until = request.until.ToNanoseconds() if request.HasField("until") else None

    def matches(response: GetFlowsResponse) -> bool:
        stamp = when(response)
        if stamp and since is not None and stamp.ToNanoseconds() < since:
            return False
        if stamp and until is not None and stamp.ToNanoseconds() > until:
            return False
        if response.HasField("flow"):
            return passes(response.flow)
        return others_pass

    window = Window(request, only_flows=False)
    with _open(path) as file:
        for response in _LineReader(path, warn).responses(file):
            if matches(response):
                yield from window.add(response)
            if window.full:
                break
    yield from window.flush()


def _others_pass(request: GetFlowsRequest) -> bool:
    """Whether events that are not flows pass: only conditions on absent fields hold for them."""
    if request.HasField("extensions"):
        return False
    allow, deny = (
        [one for one in filters if {field.name for field, _ in one.ListFields()} <= _ABSENCE_FIELDS]
        for filters in (request.whitelist, request.blacklist)
    )
    empty = Flow()
    allowed = not request.whitelist or (bool(allow) and message_filter(allow, [])(empty))
    return allowed and not (deny and message_filter(deny, [])(empty))


@contextmanager
def _open(path: str) -> Generator[BinaryIO]:
    with ExitStack() as stack:
        try:
            file = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
            compressed = cast("BufferedReader", file).peek(2)[:2] == _GZIP
        except OSError as error:
            raise _unreadable(path, error) from None
        yield cast("BinaryIO", gzip.GzipFile(fileobj=file)) if compressed else file


def _unreadable(path: str, error: Exception) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error)
    return UsageError(f"cannot read {path} ({reason.lower()})")


class _LineReader:
    """Parses lines into responses; skips other lines with a warning."""

    def __init__(self, path: str, warn: Warn) -> None:
        self._path = "standard input" if path == "-" else path
        self._warn = warn
        self._skipped = 0
        self._lenient = False

    def responses(self, file: BinaryIO) -> Iterator[GetFlowsResponse]:
        for number, line in self._lines(file):
            response = self._response(number, line)
            if response is not None:
                yield response
        if self._skipped > _WARNINGS:
            self._warn(f"{self._path}: {self._skipped} lines skipped in all")

    def _lines(self, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
        number = 0
        try:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                        pass
                    self._skip(number, f"longer than {MAX_LINE >> 20} MiB")
                elif not line.isspace():
                    yield number, line
        except (OSError, EOFError, zlib.error) as error:
            raise FlowdError(
                f"{self._path}:{number + 1}: cannot be read further ({error})"
            ) from None

    def _response(self, number: int, line: bytes) -> GetFlowsResponse | None:
        try:
            document = json.loads(line)
            if not isinstance(document, dict):
                return self._skip(number, "not an object")
            response = self._parsed(cast("dict[str, object]", document))
        except (ValueError, TypeError, ParseError, RecursionError) as error:
            return self._skip(number, str(error))
        if response.WhichOneof("response_types") or any(name in document for name in _OTHER_EVENTS):
            return response
        return self._skip(number, "not a flow")

    def _parsed(self, document: dict[str, object]) -> GetFlowsResponse:
        if not self._lenient:
            try:
                return ParseDict(document, GetFlowsResponse())
            except ParseError as error:
                response = ParseDict(document, GetFlowsResponse(), ignore_unknown_fields=True)
                if response.WhichOneof("response_types"):
                    self._lenient = True
                    self._warn(f"{self._path}: unknown fields are left out ({_first_line(error)})")
                return response
        return ParseDict(document, GetFlowsResponse(), ignore_unknown_fields=True)

    def _skip(self, number: int, reason: str) -> None:
        self._skipped += 1
        if self._skipped <= _WARNINGS:
            self._warn(f"{self._path}:{number}: skipped: {printable(reason, 200)}")


def _first_line(error: Exception) -> str:
    return printable(str(error).partition("\n")[0], 200)
