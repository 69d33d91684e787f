"""Translated ends of a connection: the object `translation` of Flow.extensions."""

from typing import TypeAlias

from flowd.model.enums import Nat
from flowd_exporters.hubble.encode.row import Row
from flowd_exporters.hubble.encode.wire_columns import tagged

TRANSLATED = (
    *("nat", "src_addr", "src_port", "nat_src_addr", "nat_src_port"),
    *("dst_addr", "dst_port", "nat_dst_addr", "nat_dst_port"),
)
"""Columns that tell of it."""

Translated: TypeAlias = tuple[int, str, int, str, int, str, int, str, int]
"""Values of TRANSLATED; addresses are text."""

_HEAD = tagged(1, b"translation")
_KEYS = {
    key: tagged(1, key.encode())
    for key in ("destination_after", "destination_before", "source_after", "source_before")
}


def translation(row: Row) -> dict[str, str]:
    """Both forms of every end whose address or port is not the same on the other side."""
    return dict(_moved(_columns(row)))


def translation_entry(row: Row) -> bytes:
    """The same as an entry of a google.protobuf.Struct; nothing where nothing differs."""
    return moved_entry(_columns(row))


def moved_entry(columns: Translated) -> bytes:
    """As `translation_entry`, of the columns alone."""
    inner = b"".join([_text_entry(_KEYS[key], text.encode()) for key, text in _moved(columns)])
    return tagged(1, _HEAD + tagged(2, tagged(5, inner))) if inner else b""


def _columns(row: Row) -> Translated:
    source = (row.nat, row.src_addr, row.src_port, row.nat_src_addr, row.nat_src_port)
    return (*source, row.dst_addr, row.dst_port, row.nat_dst_addr, row.nat_dst_port)


def _moved(columns: Translated) -> list[tuple[str, str]]:
    """Key and `address:port`, in order of the keys."""
    nat, src, src_port, nat_src, nat_src_port, dst, dst_port, nat_dst, nat_dst_port = columns
    if nat not in (Nat.BEFORE, Nat.AFTER):
        return []
    found: list[tuple[str, str]] = []
    for side, here, there in (
        ("destination", (dst, dst_port), (nat_dst, nat_dst_port)),
        ("source", (src, src_port), (nat_src, nat_src_port)),
    ):
        if here != there:
            before, after = (here, there) if nat == Nat.BEFORE else (there, here)
            found.append((f"{side}_after", _address(*after)))
            found.append((f"{side}_before", _address(*before)))
    return found


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _text_entry(key: bytes, text: bytes) -> bytes:
    """An entry of a Struct with a short text; every length in it fits into one byte."""
    size = len(text)
    return b"\x0a%c%b\x12%c\x1a%c%b" % (len(key) + size + 4, key, size + 2, size, text)
