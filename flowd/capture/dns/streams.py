"""DNS messages out of TCP segments, which come in any order and carry parts of messages.

Each message is preceded by its length in two bytes (RFC 1035, section 4.2.2; RFC 7766).
"""

from dataclasses import dataclass, field

STREAMS = 1024
STREAM_BYTES = 2 + 65535  # of one direction of a connection: a message, in order or not
EARLY = 64  # segments that came before what they follow
TOTAL_BYTES = 4 << 20  # of all of them
IDLE_NS = 60_000_000_000

_FIN, _SYN, _RST = 1, 2, 4
_SEQUENCE = 1 << 32


@dataclass(slots=True)
class _Stream:
    """One direction: what is in order and not yet a message, and what came too early."""

    following: int  # sequence number of the next byte
    seen_ns: int
    ready: bytearray = field(default_factory=bytearray)
    early: dict[int, bytes] = field(default_factory=dict[int, bytes])
    last: int = -1  # sequence number behind the last byte there will be
    lost: bool = False

    def held(self) -> int:
        return len(self.ready) + sum(map(len, self.early.values()))


class Streams:
    """The directions of TCP connections that are in the middle of something.

    Attributes:
        partial: messages, or segments of what cannot be put together any more, that were left out.
    """

    def __init__(self) -> None:
        self.partial = 0
        self._streams: dict[bytes, _Stream] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._streams)

    def add(
        self, key: bytes, time_ns: int, sequence: int, flags: int, payload: bytes
    ) -> list[bytes]:
        """Take a segment in; returns the messages it completes, without their lengths.

        Args:
            key: the connection and its direction.
            sequence: of the first byte of payload, or of the SYN.
            flags: TCP flags.
        """
        if flags & _SYN:
            self._drop(key)
            sequence = (sequence + 1) % _SEQUENCE
        stream = self._streams.get(key)
        if stream is None:
            if flags & (_FIN | _RST) and not payload:
                return []
            stream = self._open(key, sequence, time_ns)
        before = stream.held()
        stream.seen_ns = time_ns
        messages: list[bytes] = []
        if stream.lost:
            self.partial += bool(payload)
        elif payload:
            _place(stream, sequence, payload)
            messages = _cut_out(stream)
            if stream.held() > STREAM_BYTES or len(stream.early) > EARLY:
                self._give_up(stream)
        self._bytes += stream.held() - before
        if flags & _FIN and stream.last < 0:
            stream.last = (sequence + len(payload)) % _SEQUENCE
        if flags & _RST or (stream.last >= 0 and (stream.lost or stream.last == stream.following)):
            self._drop(key)
        self._make_space(key)
        return messages

    def expire(self, now_ns: int) -> None:
        """Forget connections that have been silent for a minute."""
        gone = [key for key, one in self._streams.items() if one.seen_ns + IDLE_NS < now_ns]
        for key in gone:
            self._drop(key)

    def _open(self, key: bytes, sequence: int, time_ns: int) -> _Stream:
        if len(self._streams) >= STREAMS:
            self._drop(next(iter(self._streams)))
        stream = self._streams[key] = _Stream(sequence, time_ns)
        return stream

    def _give_up(self, stream: _Stream) -> None:
        self.partial += 1
        stream.lost = True
        stream.ready.clear()
        stream.early.clear()

    def _drop(self, key: bytes) -> None:
        stream = self._streams.pop(key, None)
        if stream is not None:
            held = stream.held()
            self.partial += bool(held)
            self._bytes -= held

    def _make_space(self, newest: bytes) -> None:
        while self._bytes > TOTAL_BYTES:
            oldest = next(iter(self._streams))
            if oldest == newest:
                return
            self._drop(oldest)


def _place(stream: _Stream, sequence: int, payload: bytes) -> None:
    """Put bytes where they belong, and behind them those that waited for them."""
    stream.early.setdefault(sequence, b"")
    if len(payload) > len(stream.early[sequence]):
        stream.early[sequence] = payload
    moved = True
    while moved:
        moved = False
        for start in list(stream.early):
            behind = (stream.following - start) % _SEQUENCE
            if behind >= _SEQUENCE // 2:  # it comes later
                continue
            fresh = stream.early.pop(start)[behind:]
            if fresh:
                stream.ready += fresh
                stream.following = (stream.following + len(fresh)) % _SEQUENCE
                moved = True


def _cut_out(stream: _Stream) -> list[bytes]:
    """The whole messages at the head of what is in order, taken out of it."""
    messages: list[bytes] = []
    ready, at = stream.ready, 0
    while len(ready) - at >= 2:
        end = at + 2 + int.from_bytes(ready[at : at + 2], "big")
        if end > len(ready):
            break
        messages.append(bytes(ready[at + 2 : end]))
        at = end
    del ready[:at]
    return messages
