"""Reassemble DNS messages from TCP segments that arrive in any order.

A length prefix of two bytes precedes each message (RFC 1035, section 4.2.2; RFC 7766).
"""

from dataclasses import dataclass, field

MAX_STREAMS = 1024
STREAM_BYTES = 2 + 65535  # most bytes buffered for one stream: one message
MAX_OUT_OF_ORDER = 64  # most out-of-order segments of a stream
TOTAL_BYTES = 4 << 20  # most bytes buffered for all streams
IDLE_NS = 60_000_000_000

_FIN, _SYN, _RST = 1, 2, 4
_SEQUENCE = 1 << 32


@dataclass(slots=True)
class _TcpStream:
    """One direction of a TCP connection: bytes of an incomplete message, and later segments."""

    next_sequence: int
    seen_ns: int
    in_order: bytearray = field(default_factory=bytearray)
    out_of_order: dict[int, bytes] = field(default_factory=dict[int, bytes])
    end_sequence: int = -1  # sequence number of the FIN
    broken: bool = False

    def buffered(self) -> int:
        return len(self.in_order) + sum(map(len, self.out_of_order.values()))


class TcpReassembler:
    """Reassembles the streams of many TCP connections within bounds of memory.

    Attributes:
        partial: messages, or segments of a broken stream, that were dropped.
    """

    def __init__(self) -> None:
        self.partial = 0
        self._streams: dict[bytes, _TcpStream] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._streams)

    def add(
        self, key: bytes, time_ns: int, sequence: int, flags: int, payload: bytes
    ) -> list[bytes]:
        """Add a segment; returns the messages that it completes, without their length prefix.

        Args:
            key: identifies the connection and the direction.
            time_ns: CLOCK_MONOTONIC of the segment.
            sequence: sequence number of the first byte of payload, or of the SYN.
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
        before = stream.buffered()
        stream.seen_ns = time_ns
        messages: list[bytes] = []
        if stream.broken:
            self.partial += bool(payload)
        elif payload:
            _insert(stream, sequence, payload)
            messages = _pop_messages(stream)
            if stream.buffered() > STREAM_BYTES or len(stream.out_of_order) > MAX_OUT_OF_ORDER:
                self._mark_broken(stream)
        self._bytes += stream.buffered() - before
        if flags & _FIN and stream.end_sequence < 0:
            stream.end_sequence = (sequence + len(payload)) % _SEQUENCE
        if flags & _RST or (
            stream.end_sequence >= 0
            and (stream.broken or stream.end_sequence == stream.next_sequence)
        ):
            self._drop(key)
        self._shrink(key)
        return messages

    def expire(self, now_ns: int) -> None:
        """Drop streams without a segment for IDLE_NS."""
        idle = [key for key, one in self._streams.items() if one.seen_ns + IDLE_NS < now_ns]
        for key in idle:
            self._drop(key)

    def _open(self, key: bytes, sequence: int, time_ns: int) -> _TcpStream:
        if len(self._streams) >= MAX_STREAMS:
            self._drop(next(iter(self._streams)))
        stream = self._streams[key] = _TcpStream(sequence, time_ns)
        return stream

    def _mark_broken(self, stream: _TcpStream) -> None:
        self.partial += 1
        stream.broken = True
        stream.in_order.clear()
        stream.out_of_order.clear()

    def _drop(self, key: bytes) -> None:
        stream = self._streams.pop(key, None)
        if stream is not None:
            buffered = stream.buffered()
            self.partial += bool(buffered)
            self._bytes -= buffered

    def _shrink(self, newest: bytes) -> None:
        while self._bytes > TOTAL_BYTES:
            oldest = next(iter(self._streams))
            if oldest == newest:
                return
            self._drop(oldest)


def _insert(stream: _TcpStream, sequence: int, payload: bytes) -> None:
    """Buffer a segment, and append to the in-order bytes every segment that now continues them."""
    stream.out_of_order.setdefault(sequence, b"")
    if len(payload) > len(stream.out_of_order[sequence]):
        stream.out_of_order[sequence] = payload
    advanced = True
    while advanced:
        advanced = False
        for start in list(stream.out_of_order):
            overlap = (stream.next_sequence - start) % _SEQUENCE
            if overlap >= _SEQUENCE // 2:  # the segment begins after the next byte
                continue
            fresh = stream.out_of_order.pop(start)[overlap:]
            if fresh:
                stream.in_order += fresh
                stream.next_sequence = (stream.next_sequence + len(fresh)) % _SEQUENCE
                advanced = True


def _pop_messages(stream: _TcpStream) -> list[bytes]:
    """Remove and return the complete messages at the start of the in-order bytes."""
    messages: list[bytes] = []
    buffer, at = stream.in_order, 0
    while len(buffer) - at >= 2:
        end = at + 2 + int.from_bytes(buffer[at : at + 2], "big")
        if end > len(buffer):
            break
        messages.append(bytes(buffer[at + 2 : end]))
        at = end
    del buffer[:at]
    return messages
