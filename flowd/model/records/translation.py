"""Translations (DNAT, SNAT) of connections: what the initiator sees, and what the responder sees."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

TRANSLATION = np.dtype(
    [
        ("src_addr", "u1", (16,)),  # as the initiator sees it; IPv4 as ::ffff:a.b.c.d
        ("dst_addr", "u1", (16,)),
        ("nat_src_addr", "u1", (16,)),  # as the responder sees it
        ("nat_dst_addr", "u1", (16,)),
        ("src_port", "u2"),  # the identifier of an ICMP echo, on both sides
        ("dst_port", "u2"),
        ("nat_src_port", "u2"),
        ("nat_dst_port", "u2"),
        ("protocol", "u1"),  # Protocol
        ("ended", "?"),  # the translation is over
    ],
    align=True,
)

TranslationBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of TRANSLATION."""


@dataclass(frozen=True, slots=True)
class Translations:
    """News of translations, in order.

    Attributes:
        since_ns, until_ns: Unix time between which it happened; 0 for nobody knows since when.
        complete: these are all there are; whatever else was known is over.
    """

    rows: TranslationBatch
    since_ns: int
    until_ns: int
    complete: bool = False
