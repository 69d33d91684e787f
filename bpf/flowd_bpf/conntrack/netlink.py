"""Watch and list translated (NAT) conntrack entries of this network namespace by ctnetlink.

The kernel sends events of new and destroyed entries, and dumps the table on request. Untranslated
entries are filtered in the kernel where possible: events by a socket filter
(Documentation/networking/filter.rst), dumps by their status (Linux 5.15).
Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
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
RECEIVE_BYTES = 8 << 20  # the kernel accounts some 1.3 kB for an event of 200 bytes
CHUNK = 1 << 20
DATAGRAM = 1 << 15
CHUNKS = 16  # of events that one read returns at most
TIMEOUT_SECONDS = 10.0

_HEADER = struct.Struct("=IHHII")
_FILTER = struct.Struct("=HBBI")
_WORDS = struct.Struct("=HH")

_TRANSLATED_ONLY = (
    (0x00, 0, 0, 20),  # A = first attribute
    (0x01, 0, 0, CTA_STATUS),  # X = attribute type
    (0x20, 0, 0, 0xFFFFF000 + 12),  # A = SKF_AD_NLATTR: its offset, 0 for absent
    (0x15, 3, 0, 0),
    (0x07, 0, 0, 0),  # X = A
    (0x40, 0, 0, 4),  # A = its value
    (0x45, 0, 1, IPS_SRC_NAT | IPS_DST_NAT),
    (0x06, 0, 0, 0xFFFFFFFF),  # accept
    (0x06, 0, 0, 0),  # drop
)


class ConntrackWatch:
    """Events of translated connections, and dumps of the table.

    Args:
        every: receive all entries, since IPVS translates without setting the NAT status bits.
        receive_bytes: size of the socket's receive buffer.

    Attributes:
        overruns: times the kernel dropped events because the buffer was full; a dump recovers them.

    Raises:
        OSError: the kernel has no ctnetlink, or the process no CAP_NET_ADMIN.
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
        """Descriptor of the socket, readable when there are events."""
        return self._socket.fileno()

    def read(self) -> Entries:
        """Events since the last call as ENTRY rows in the kernel's order, shape (N,).

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
        """Dump the translated entries.

        Args:
            limit: rows to return at most.

        Returns:
            ENTRY rows, shape (N,), and the number of entries above the limit.

        Raises:
            OSError: the kernel refuses, or does not answer within TIMEOUT_SECONDS.
        """
        if self._every:
            return _list(b"", limit)
        both = IPS_SRC_NAT | IPS_DST_NAT
        # The second dump excludes the entries of the first.
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


def count_entries() -> int:
    """Number of conntrack entries in this network namespace, translated or not.

    Raises:
        OSError: the kernel has no ctnetlink, or the process no CAP_NET_ADMIN.
    """
    with _open() as request:
        request.settimeout(TIMEOUT_SECONDS)
        request.send(_request(CT_GET_STATS, NLM_F_REQUEST, b""))
        data = request.recv(DATAGRAM)
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
    instructions = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(_TRANSLATED_ONLY), ctypes.addressof(instructions))
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
    """One dump through a second socket, on which events cannot displace the answers."""
    chunks, kept, above = [np.zeros(0, ENTRY)], 0, 0
    with _open() as request:
        request.settimeout(TIMEOUT_SECONDS)
        request.send(_request(CT_GET, NLM_F_REQUEST | NLM_F_DUMP, attributes))
        buffer, begins, at = np.empty(CHUNK, np.uint8), [0][:0], 0
        view, done = buffer.data, False
        while not done:
            size = request.recv_into(view[at:])
            for kind, begin, _ in _messages(view[at : at + size]):
                if kind == NLMSG_ERROR:
                    raise _refusal(view, at + begin)
                done |= kind == NLMSG_DONE
                begins.append(at + begin - _HEADER.size)
            at += (size + 3) & ~3
            if done or at > CHUNK - 2 * DATAGRAM:
                starts: Offsets = np.array(begins, np.int64)
                rows = parse(buffer, starts)
                chunks.append(rows[: limit - kept])
                kept += len(chunks[-1])
                above += len(rows) - len(chunks[-1])
                begins, at = [], 0
    return np.concatenate(chunks), above


def _refusal(data: bytes | memoryview, at: int) -> OSError:
    number = -struct.unpack_from("=i", data, at)[0]
    return OSError(number, errno.errorcode.get(number, "netlink refused"))


def _messages(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Type, start of the body, and end of each netlink message, as offsets."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            return
        yield kind, at + _HEADER.size, at + size
        at += (size + 3) & ~3
