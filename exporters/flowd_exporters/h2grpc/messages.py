"""Requests out of the bytes of a stream, with bounds on what a client can make us hold."""

import zlib

import grpc

MAX_MESSAGE = 4 << 20
"""Bytes of a request, before and after it is decompressed; gRPC's customary bound."""

ENCODINGS = ("identity", "gzip", "deflate")
_HEADER = 5


class Aborted(Exception):
    """A call ends with this status."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class Messages:
    """Cuts bytes into messages.

    Args:
        encoding: the `grpc-encoding` of the client; one of ENCODINGS.
        limit: bytes that a message may have.
    """

    def __init__(self, encoding: str, limit: int = MAX_MESSAGE) -> None:
        self._encoding = encoding
        self._limit = limit
        self._held = bytearray()

    def __len__(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._held += data

    def take(self) -> bytes | None:
        """The next message, or None when it is not all there.

        Raises:
            Aborted: it is too long or cannot be decompressed.
        """
        if len(self._held) < _HEADER:
            return None
        size = int.from_bytes(self._held[1:_HEADER])
        if size > self._limit:
            raise _too_long(size, self._limit)
        if len(self._held) < _HEADER + size:
            return None
        compressed = self._held[0]
        data = bytes(self._held[_HEADER : _HEADER + size])
        del self._held[: _HEADER + size]
        if compressed > 1:
            raise Aborted(grpc.StatusCode.INTERNAL, "bad compression flag")
        return self._decompressed(data) if compressed else data

    def _decompressed(self, data: bytes) -> bytes:
        if self._encoding == "identity":
            raise Aborted(grpc.StatusCode.INTERNAL, "compressed message without grpc-encoding")
        pipe = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # tells gzip from zlib by itself
        try:
            plain = pipe.decompress(data, self._limit + 1)
        except zlib.error:
            raise Aborted(grpc.StatusCode.INTERNAL, "message cannot be decompressed") from None
        if len(plain) > self._limit:
            raise _too_long(len(plain), self._limit)
        if not pipe.eof:
            raise Aborted(grpc.StatusCode.INTERNAL, "message cannot be decompressed")
        return plain


def _too_long(size: int, limit: int) -> Aborted:
    text = f"message of {size} bytes is larger than the {limit} allowed"
    return Aborted(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
