"""Translated connections of this network namespace, from conntrack over netlink (NETLINK_NETFILTER).

The kernel tells of new and of ended entries, and lists those there are. Where possible it is told
to leave out what is not translated, by a socket filter (Documentation/networking/filter.rst) and by
the status that a list is asked for (Linux 5.15 and newer).
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator

import numpy as np

from flowd_bpf.conntrack.parse import ENTRY, SUBSYSTEM, Entries, Offsets, parse

NETLINK_NETFILTER = 12
GROUP_NEW, GROUP_DESTROY = 0x1, 0x4  # NF_NETLINK_CONNTRACK_*
CT_GET, CT_GET_STATS = 1, 5
CTA_STATUS, CTA_STATUS_MASK = 3, 26
STATS_ENTRIES = 1
IPS_SRC_NAT, IPS_DST_NAT = 0x10, 0x20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
SO_ATTACH_FILTER, SO_RCVBUFFORCE = 26, 33
RECEIVE_BYTES = 8 << 20  # the kernel takes some 1.3 kB for an event of 200 bytes
CHUNK = 1 << 20
DATAGRAM = 1 << 15
CHUNKS = 16  # of events, most that are read in one go
SECONDS = 10.0

_HEADER = struct.Struct("=IHHII")
_FILTER = struct.Struct("=HBBI")
_WORDS = struct.Struct("=HH")

_TRANSLATED_ONLY = (
    (0x00, 0, 0, 20),  # A = first attribute
    (0x01, 0, 0, CTA_STATUS),  # X = type wanted
    (0x20, 0, 0, 0xFFFFF000 + 12),  # A = SKF_AD_NLATTR: where it is, 0 for nowhere
    (0x15, 3, 0, 0),
    (0x07, 0, 0, 0),  # X = A
    (0x40, 0, 0, 4),  # A = its value
    (0x45, 0, 1, IPS_SRC_NAT | IPS_DST_NAT),
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
    (0x06, 0, 0, 0),  # leave it
)


class ConntrackWatch:
    """News of translated connections, and lists of them.

    Args:
        every: look at all entries, for IPVS translates without the status bits of NAT.

    Attributes:
        overruns: times the kernel had news for which there was no space; a list tells again.

    Raises:
        OSError: there is no such netlink here, or no CAP_NET_ADMIN.
    """

    def __init__(self, *, every: bool = False, receive_bytes: int = RECEIVE_BYTES) -> None:
        self.overruns = 0
        self._every = every
        self._buffer = np.empty(CHUNK, np.uint8)
        self._socket = _open()
        try:
            self._socket.setblocking(False)
            self._enlarge(receive_bytes)
            if not every:
                _attach(self._socket)
            self._socket.bind((0, GROUP_NEW | GROUP_DESTROY))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when there is news."""
        return self._socket.fileno()

    def read(self) -> Entries:
        """What is new since the last call: ENTRY rows in the kernel's order.

        Raises:
            OSError: the kernel does not answer.
        """
        chunks: list[Entries] = []
        view = self._buffer.data
        for _ in range(CHUNKS):
            starts: list[int] = []
            at = 0
            while at <= CHUNK - DATAGRAM and (size := self._receive(view[at:])):
                starts.append(at)
                at += (size + 3) & ~3
            if starts:
                chunks.append(parse(self._buffer, np.array(starts, np.int64)))
            if at <= CHUNK - DATAGRAM:
                break
        return np.concatenate(chunks) if chunks else np.zeros(0, ENTRY)

    def list(self, limit: int) -> tuple[Entries, int]:
        """The translated entries there are, as ENTRY rows.

        Args:
            limit: rows that are kept.

        Returns:
            Rows, and how many there were above the limit.

        Raises:
            OSError: the kernel refuses, or does not answer in time.
        """
        if self._every:
            return _list(b"", limit)
        both = IPS_SRC_NAT | IPS_DST_NAT
        # The second leaves out what the first has
        first, above = _list(_status(IPS_DST_NAT, IPS_DST_NAT), limit)
        second, more = _list(_status(IPS_SRC_NAT, both), limit - len(first))
        return np.concatenate([first, second]), above + more

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _enlarge(self, size: int) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def _receive(self, space: memoryview) -> int:
        while True:
            try:
                return self._socket.recv_into(space)
            except BlockingIOError:
                return 0
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.overruns += 1


def tracked() -> int:
    """Entries that conntrack has in this network namespace, translated or not.

    Raises:
        OSError: there is no such netlink here, or no CAP_NET_ADMIN.
    """
    with _open() as asking:
        asking.settimeout(SECONDS)
        asking.send(_request(CT_GET_STATS, NLM_F_REQUEST, b""))
        data = asking.recv(DATAGRAM)
    for kind, begin, end in _messages(data):
        if kind == NLMSG_ERROR:
            raise _refusal(data, begin)
        at = begin + 4  # nfgenmsg
        while at + 8 <= end:
            size, attribute = _WORDS.unpack_from(data, at)
            if attribute == STATS_ENTRIES:
                return int(struct.unpack_from(">I", data, at + 4)[0])
            at += max(4, (size + 3) & ~3)
    return 0


def _open() -> socket.socket:
    return socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )


def _attach(to: socket.socket) -> None:
    code = b"".join(_FILTER.pack(*step) for step in _TRANSLATED_ONLY)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(_TRANSLATED_ONLY), ctypes.addressof(held))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _status(value: int, mask: int) -> bytes:
    return b"".join(
        _WORDS.pack(8, kind) + struct.pack(">I", number)
        for kind, number in ((CTA_STATUS, value), (CTA_STATUS_MASK, mask))
    )


def _request(kind: int, flags: int, attributes: bytes) -> bytes:
    body = bytes(4) + attributes  # nfgenmsg: every family
    return _HEADER.pack(_HEADER.size + len(body), SUBSYSTEM << 8 | kind, flags, 1, 0) + body


def _list(attributes: bytes, limit: int) -> tuple[Entries, int]:
    """One dump, by a socket of its own: its answers cannot be lost to news."""
    chunks, kept, above = [np.zeros(0, ENTRY)], 0, 0
    with _open() as asking:
        asking.settimeout(SECONDS)
        asking.send(_request(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, attributes))
        buffer, held, at = np.empty(CHUNK, np.uint8), [0][:0], 0
        view, done = buffer.data, False
        while not done:
            size = asking.recv_into(view[at:])
            for kind, begin, _ in _messages(view[at : at + size]):
                if kind == NLMSG_ERROR:
                    raise _refusal(view, at + begin)
                done |= kind == NLMSG_DONE
                held.append(at + begin - _HEADER.size)
            at += (size + 3) & ~3
            if done or at > CHUNK - 2 * DATAGRAM:
                starts: Offsets = np.array(held, np.int64)
                rows = parse(buffer, starts)
                chunks.append(rows[: limit - kept])
                kept += len(chunks[-1])
                above += len(rows) - len(chunks[-1])
                held, at = [], 0
    return np.concatenate(chunks), above


def _refusal(data: bytes | memoryview, at: int) -> OSError:
    number = -struct.unpack_from("=i", data, at)[0]
    return OSError(number, errno.errorcode.get(number, "netlink refused"))


def _messages(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Type, first byte of the body, and end of each message."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            return
        yield kind, at + _HEADER.size, at + size
        at += (size + 3) & ~3
