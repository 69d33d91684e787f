"""Deframe gRPC's length-prefixed messages out of a stream's bytes, bounded in size."""

import zlib

import grpc

MAX_MESSAGE = 4 << 20
"""Bound of a request in bytes, before and after decompression; the default of gRPC's servers."""

ENCODINGS = ("identity", "gzip", "deflate")
_HEADER = 5


class Aborted(Exception):
    """Ends a call with a status.

    Attributes:
        code: status code.
        details: text of `grpc-message`.
    """

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class MessageDeframer:
    """Splits a stream of bytes into messages; `len()` is the number of buffered bytes.

    Args:
        encoding: the `grpc-encoding` of the client; one of ENCODINGS.
        limit: bound of a message in bytes.
    """

    def __init__(self, encoding: str, limit: int = MAX_MESSAGE) -> None:
        self._encoding = encoding
        self._limit = limit
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Buffer bytes from the stream."""
        self._buffer += data

    def take(self) -> bytes | None:
        """The next message, decompressed; None when it is incomplete.

        Raises:
            Aborted: the message is too long or cannot be decompressed.
        """
        if len(self._buffer) < _HEADER:
            return None
        size = int.from_bytes(self._buffer[1:_HEADER])
        if size > self._limit:
            raise _too_long(size, self._limit)
        if len(self._buffer) < _HEADER + size:
            return None
        compressed = self._buffer[0]
        data = bytes(self._buffer[_HEADER : _HEADER + size])
        del self._buffer[: _HEADER + size]
        if compressed > 1:
            raise Aborted(grpc.StatusCode.INTERNAL, "bad compression flag")
        return self._decompressed(data) if compressed else data

    def _decompressed(self, data: bytes) -> bytes:
        if self._encoding == "identity":
            raise Aborted(grpc.StatusCode.INTERNAL, "compressed message without grpc-encoding")
        pipe = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # accepts gzip and zlib headers
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
