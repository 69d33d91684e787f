"""Escape untrusted strings for terminals, labels and logs; format counts, bytes and latencies."""

import re

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, limit: int = 1024) -> str:
    """Replace control, bidirectional and invisible characters by visible escapes.

    C0 controls become caret notation (`^[`), others `\\u202e`. Text of more than `limit` characters
    is cut to `limit` with `…` as the last one.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return "^" + chr(code + 0x40)
    if code == 0x7F:
        return "^?"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def safe_json(line: bytes) -> bytes:
    """Escape the characters that `printable` escapes inside a JSON text in UTF-8; the data stay equal."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(_unicode_escape, line.decode()).encode()


def _unicode_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def count(number: float) -> str:
    """Format a count with thousands separators: `48,211`."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """Format a rate in at most five characters: `0.2`, `412`, `1.1k`, `3.4M`."""
    if number < 9.95:
        return f"{number:.1f}" if number else "0"
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.1f}{unit}" if unit and number < 99.5 else f"{number:.0f}{unit}"
        number /= 1000
    return f"{number:.0f}P"


def iec(number: float) -> str:
    """Format a number of bytes in IEC units: `312 B`, `2.1 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1023.5:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} PiB"


def millis(nanoseconds: float) -> str:
    """Format a latency, given in nanoseconds, in milliseconds with two or three significant digits."""
    value = nanoseconds / 1e6
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"
