"""Flow ids: version 7 UUIDs (RFC 9562, section 5.7), computed from time, node and sequence number.

Layout: milliseconds of the flow's time, 12 bits of the fraction below, 16 bits of the node's name,
46 bits of the flow's sequence number. An id therefore identifies its row without being stored.
"""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import blake2s

import numpy as np
from numpy.typing import NDArray

from flowd.model.directory import Directory
from flowd.model.records.flow import FlowRows

_FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_SEQ_BITS = 46
_SEQ_MASK = (1 << _SEQ_BITS) - 1
_MILLI = 1_000_000


def node_bits(directory: Directory) -> int:
    """A 16-bit hash of cluster and node name."""
    return _node_bits(directory.cluster_name, directory.node_name)


@cache
def _node_bits(cluster: str, node: str) -> int:
    digest = blake2s(f"{cluster}/{node}".encode(errors="replace"), digest_size=2)
    return int.from_bytes(digest.digest())


def flow_uuid(time_ns: int, seq: int, node: int) -> str:
    """The id of a flow in textual form.

    Args:
        time_ns: Unix time, nanoseconds.
        node: the value of `node_bits`.
    """
    millis, nanos = divmod(time_ns, _MILLI)
    high = (millis & 0xFFFFFFFFFFFF) << 16 | 0x7000 | (nanos << 12) // _MILLI
    text = f"{high:016x}{2 << 62 | node << _SEQ_BITS | seq & _SEQ_MASK:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class UuidTest:
    """Passes rows whose id is one of `uuids`; ids of other nodes match no row."""

    uuids: tuple[str, ...]
    node: int

    def __call__(self, rows: FlowRows) -> NDArray[np.bool_]:
        """A mask of shape (rows,)."""
        mask = np.zeros(len(rows), np.bool_)
        for text in self.uuids:
            if not _FORM.fullmatch(text):
                continue
            number = int(text.replace("-", ""), 16)
            same_seq = rows["seq"] & np.uint64(_SEQ_MASK) == np.uint64(number & _SEQ_MASK)
            for row in np.flatnonzero(same_seq):
                own = flow_uuid(int(rows["time_ns"][row]), int(rows["seq"][row]), self.node)
                mask[row] |= own == text
        return mask
