"""Lines out of container runtimes' log files: CRI and docker's JSON, found by themselves.

CRI: `<time> <stdout|stderr> <P|F>[:tags] <text>`, P for a part that the next line goes on from.
Docker (json-file driver): `{"log": "<text>\\n", "stream": ..., "time": ...}`, a part without `\\n`.
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
    """Takes lines of a file one after another and gives those that were written to it.

    `waiting` tells whether a part was taken whose rest has not come.
    """

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._parts: dict[str, bytes] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._parts)

    def feed(self, line: bytes) -> bytes | None:
        """The whole line that this one is or completes, or None for a part."""
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
