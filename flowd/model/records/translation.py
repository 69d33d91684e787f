"""Translation rows (DNAT, SNAT): the 5-tuple before translation and the one after it."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

TRANSLATION = np.dtype(
    [
        (
            "src_addr",
            "u1",
            (16,),
        ),  # before translation, as the initiator sees it; IPv4 as ::ffff:a.b.c.d
        ("dst_addr", "u1", (16,)),
        ("nat_src_addr", "u1", (16,)),  # after translation, as the responder sees it
        ("nat_dst_addr", "u1", (16,)),
        ("src_port", "u2"),  # the identifier of an ICMP echo, on both sides
        ("dst_port", "u2"),
        ("nat_src_port", "u2"),
        ("nat_dst_port", "u2"),
        ("protocol", "u1"),  # Protocol
        ("ended", "?"),  # the translation has ended
    ],
    align=True,
)

TranslationBatch: TypeAlias = NDArray[np.void]
"""A one-dimensional array of TRANSLATION."""


@dataclass(frozen=True, slots=True)
class TranslationUpdate:
    """Translations that began or ended in a time span, in order.

    Attributes:
        since_ns, until_ns: the span, Unix nanoseconds; `since_ns` is 0 for an unknown begin.
        complete: the rows are the complete list; translations not in it have ended.
    """

    rows: TranslationBatch
    since_ns: int
    until_ns: int
    complete: bool = False
