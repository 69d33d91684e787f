"""Unwrap lines of container runtimes' log files: CRI and Docker's json-file, detected per line.

CRI: `<time> <stdout|stderr> <P|F>[:tags] <text>`; P marks a partial line that the next one
continues. Docker (json-file driver): `{"log": "<text>\\n", "stream": ..., "time": ...}`; a partial
line has no `\\n`.
"""

import re

import msgspec

from flowd.accesslog.lines_to_rows import MAX_LINE
from flowd.model.losses import Losses, Place

_CRI = re.compile(
    rb"\d{4}-\d\d-\d\dT[0-9:.]{8,20}(?:Z|[+-]\d\d:\d\d) (std(?:out|err)) ([PF])\S{0,64} "
)


class _Docker(msgspec.Struct):
    log: str
    stream: str = "stdout"


_docker = msgspec.json.Decoder(_Docker).decode


class Unwrapper:
    """Converts the lines of a log file to the lines that the container wrote.

    Args:
        losses: `line_too_long` under Place.ACCESS_LOG.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._parts: dict[str, bytes] = {}

    @property
    def waiting(self) -> bool:
        """Whether a partial line waits for its rest."""
        return bool(self._parts)

    def feed(self, line: bytes) -> bytes | None:
        """The complete line that this line is or ends, or None for a partial line."""
        if line[:1].isdigit() and (found := _CRI.match(line)):
            stream, part = found[1].decode(), line[found.end() :]
            return self._join(stream, part, last=found[2] == b"F")
        if line.startswith(b'{"log":'):
            try:
                entry = _docker(line)
            except (msgspec.DecodeError, ValueError):
                return line
            text = entry.log.encode(errors="replace")
            return self._join(entry.stream[:16], text, last=text.endswith(b"\n"))
        return line

    def _join(self, stream: str, part: bytes, *, last: bool) -> bytes | None:
        whole = self._parts.pop(stream, b"") + part
        if len(whole) > MAX_LINE:
            if last:
                self._losses.add(Place.ACCESS_LOG, "line_too_long")
            whole = whole[: MAX_LINE + 1]
        if last:
            return whole[:MAX_LINE]
        if stream in self._parts or len(self._parts) < 4:
            self._parts[stream] = whole
        return None
