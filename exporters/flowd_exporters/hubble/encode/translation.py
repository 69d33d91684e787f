"""The entry `translation` of Flow.extensions: the ends of a connection on both sides of a NAT."""

from typing import TypeAlias

from flowd.model.enums import Nat
from flowd_exporters.hubble.encode.row import FlowRow
from flowd_exporters.hubble.encode.wire_columns import length_delimited

TRANSLATED = (
    *("nat", "src_addr", "src_port", "nat_src_addr", "nat_src_port"),
    *("dst_addr", "dst_port", "nat_dst_addr", "nat_dst_port"),
)
"""Columns that the entry is made of."""

TranslatedValues: TypeAlias = tuple[int, str, int, str, int, str, int, str, int]
"""Values of TRANSLATED; addresses are text."""

_HEAD = length_delimited(1, b"translation")
_KEYS = {
    key: length_delimited(1, key.encode())
    for key in ("destination_after", "destination_before", "source_after", "source_before")
}


def translation(row: FlowRow) -> dict[str, str]:
    """Key and `address:port` of every end that differs between the two sides of the NAT."""
    return dict(_translated_ends(_columns(row)))


def translation_entry(row: FlowRow) -> bytes:
    """`translation` as a wire entry of google.protobuf.Struct; empty when no end differs."""
    return entry_from_columns(_columns(row))


def entry_from_columns(columns: TranslatedValues) -> bytes:
    """As `translation_entry`, from values of TRANSLATED."""
    inner = b"".join(
        [_text_entry(_KEYS[key], text.encode()) for key, text in _translated_ends(columns)]
    )
    return (
        length_delimited(1, _HEAD + length_delimited(2, length_delimited(5, inner)))
        if inner
        else b""
    )


def _columns(row: FlowRow) -> TranslatedValues:
    source = (row.nat, row.src_addr, row.src_port, row.nat_src_addr, row.nat_src_port)
    return (*source, row.dst_addr, row.dst_port, row.nat_dst_addr, row.nat_dst_port)


def _translated_ends(columns: TranslatedValues) -> list[tuple[str, str]]:
    """Key and `address:port` of the ends that differ, sorted by key."""
    nat, src, src_port, nat_src, nat_src_port, dst, dst_port, nat_dst, nat_dst_port = columns
    if nat not in (Nat.BEFORE, Nat.AFTER):
        return []
    ends: list[tuple[str, str]] = []
    for side, own, other in (
        ("destination", (dst, dst_port), (nat_dst, nat_dst_port)),
        ("source", (src, src_port), (nat_src, nat_src_port)),
    ):
        if own != other:
            before, after = (own, other) if nat == Nat.BEFORE else (other, own)
            ends.append((f"{side}_after", _address(*after)))
            ends.append((f"{side}_before", _address(*before)))
    return ends


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _text_entry(key: bytes, text: bytes) -> bytes:
    """An entry of a Struct with a short text, whose lengths fit into one byte each."""
    size = len(text)
    return b"\x0a%c%b\x12%c\x1a%c%b" % (len(key) + size + 4, key, size + 2, size, text)
