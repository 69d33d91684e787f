"""List and watch network interfaces by rtnetlink (RFC 3549, include/uapi/linux/rtnetlink.h).

Reads only the messages RTM_NEWLINK and RTM_DELLINK, for which the standard library is enough.
"""

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

NETLINK_ROUTE = 0
RTMGRP_LINK = 1
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
IFLA_IFNAME = 3
DATAGRAM = 1 << 17
TIMEOUT_SECONDS = 10.0
ETHERNET_TYPES = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; with `ethernet` its packets begin with an Ethernet header."""

    index: int
    name: str
    ethernet: bool


def matches(name: str, globs: Sequence[str]) -> bool:
    """Whether globs select the interface `name`.

    `!glob` excludes, and wins over any other. With exclusions only, all other interfaces are
    selected. Only a glob that begins with "lo" selects `lo`.
    """
    included = [glob for glob in globs if not glob.startswith("!")] or ["*"]
    if any(fnmatchcase(name, glob[1:]) for glob in globs if glob.startswith("!")):
        return False
    if name == "lo":
        return any(glob.startswith("lo") and fnmatchcase(name, glob) for glob in included)
    return any(fnmatchcase(name, glob) for glob in included)


class LinkWatch:
    """Watch of the interfaces in this thread's network namespace that globs select.

    Attributes:
        links: all interfaces by index, selected or not.

    Raises:
        OSError: the kernel refused the netlink socket.
    """

    def __init__(self, globs: Sequence[str] = ("*",)) -> None:
        self.links: dict[int, Interface] = {}
        self._globs = tuple(globs)
        self._socket = _open()
        self._socket.bind((0, RTMGRP_LINK))
        self._stale = True
        self._removed: set[int] = set()

    def fileno(self) -> int:
        """Descriptor of the socket, readable when an interface changed."""
        return self._socket.fileno()

    def poll(self) -> tuple[list[Interface], list[Interface]]:
        """Selected interfaces that appeared and that disappeared since the last call.

        A rename into or out of the selection counts as such. An interface whose index another one
        has reused is in both lists.

        Raises:
            OSError: the kernel does not answer.
        """
        data = self._receive()
        if not data and not self._stale:
            return [], []
        before = dict(self.links)
        self._removed.clear()
        while data:
            self._apply(data)
            data = self._receive()
        if self._stale:
            self._dump()
        return self._selected(self.links, before), self._selected(before, self.links)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(DATAGRAM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._stale = True  # messages were lost: dump all interfaces again
            return b""

    def _selected(
        self, links: dict[int, Interface], others: dict[int, Interface]
    ) -> list[Interface]:
        """Selected interfaces of `links` that are not in `others`, or were removed in between."""
        return [
            link
            for link in links.values()
            if (others.get(link.index) != link or link.index in self._removed)
            and matches(link.name, self._globs)
        ]

    def _dump(self) -> None:
        """List all interfaces through a second socket, where events cannot displace the answers."""
        self.links = {}
        self._stale = False
        body = _LINK.pack(0, 0, 0, 0, 0)
        size = _HEADER.size + len(body)
        with _open() as dump:
            dump.settimeout(TIMEOUT_SECONDS)
            dump.send(_HEADER.pack(size, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
            while not self._apply(dump.recv(DATAGRAM)):
                pass

    def _apply(self, data: bytes) -> bool:
        """Apply the messages of a datagram; returns True when it ends a dump."""
        for kind, body in _messages(data):
            if kind == NLMSG_DONE:
                return True
            if kind == NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, "netlink refused to list the interfaces")
            if kind in (RTM_NEWLINK, RTM_DELLINK):
                family, device, index, _, _ = _LINK.unpack_from(body)
                if family != socket.AF_UNSPEC:  # a bridge reports its ports
                    continue
                if kind == RTM_NEWLINK:
                    self.links[index] = Interface(index, _name(body), device in ETHERNET_TYPES)
                else:
                    self.links.pop(index, None)
                    self._removed.add(index)
        return False


def _open() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + size]
        at += (size + 3) & ~3


def _name(body: bytes) -> str:
    at = _LINK.size
    while at + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, at)
        if size < _ATTRIBUTE.size:
            break
        if kind == IFLA_IFNAME:
            return body[at + _ATTRIBUTE.size : at + size].rstrip(b"\0").decode(errors="replace")
        at += (size + 3) & ~3
    return ""
