"""Mutate inputs: bits, bytes, boundary numbers, pieces of other inputs, and hostile text."""

import random
import struct

HOSTILE = (
    b"\x1b[2J\x1b]0;x\x07", b"\xc2\x9b31m", b"\xe2\x80\xae", b"<script>", b"\xff\xfe", b"\xed\xa0\x80",
    b"\0", b"-", b"null", b"-1", b"1e999", b"NaN", b"9" * 40, b"{" * 300, b"[" * 300, b'"', b"\\u0000",
    b"\\ud800", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59.999999999Z", b"[::1]:0", b"1.2.3.4:99999",
    b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff" * 10, b"A" * 9000, b"%00", b"\r\n", b"\n",
)  # fmt: skip
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
MAX_BYTES = 1 << 16


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """Apply one to eight mutations to an input of the corpus; at most MAX_BYTES long."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 8)):
        at = rng.randint(0, len(data))
        match rng.randint(0, 7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randint(0, 7)
            case 1 if data:
                data[at % len(data)] = rng.randint(0, 255)
            case 2:
                data[at:at] = rng.choice(HOSTILE)
            case 3:
                del data[at : at + rng.randint(1, 32)]
            case 4:
                other = rng.choice(corpus)
                start = rng.randint(0, len(other))
                data[at:at] = other[start : start + rng.randint(1, 256)]
            case 5:
                data[at : at + 4] = struct.pack(">I", rng.choice(_NUMBERS))
            case 6:
                piece = rng.choice(HOSTILE)
                data[at : at + len(piece)] = piece
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 16))
    return bytes(data[:MAX_BYTES])
