"""Network interfaces, present and future, from rtnetlink (RFC 3549, include/uapi/linux/rtnetlink.h).

Two messages are read, RTM_NEWLINK and RTM_DELLINK, so the standard library is enough.
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
SECONDS = 10.0
ETHERNET_TYPES = (1, 772)  # ARPHRD_ETHER, ARPHRD_LOOPBACK

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; `ethernet` tells whether packets on it begin with an Ethernet header."""

    index: int
    name: str
    ethernet: bool


def matches(name: str, globs: Sequence[str]) -> bool:
    """Whether globs select an interface.

    `!glob` excludes and wins; with nothing but exclusions all others are selected. `lo` is only
    selected by a glob that begins with its name.
    """
    chosen = [glob for glob in globs if not glob.startswith("!")] or ["*"]
    if any(fnmatchcase(name, glob[1:]) for glob in globs if glob.startswith("!")):
        return False
    if name == "lo":
        return any(glob.startswith("lo") and fnmatchcase(name, glob) for glob in chosen)
    return any(fnmatchcase(name, glob) for glob in chosen)


class LinkWatch:
    """The interfaces of this thread's network namespace that globs select.

    `links` maps every interface's index to it, selected or not.

    Raises:
        OSError: there is no netlink here.
    """

    def __init__(self, globs: Sequence[str] = ("*",)) -> None:
        self.links: dict[int, Interface] = {}
        self._globs = tuple(globs)
        self._socket = _open()
        self._socket.bind((0, RTMGRP_LINK))
        self._stale = True
        self._left: set[int] = set()

    def fileno(self) -> int:
        """Readable when something changed."""
        return self._socket.fileno()

    def poll(self) -> tuple[list[Interface], list[Interface]]:
        """Selected interfaces that appeared, and that are gone, since the last call.

        One that was renamed into or out of the selection counts as well, and one whose index
        belongs to another interface by now is gone first.

        Raises:
            OSError: the kernel does not answer.
        """
        data = self._receive()
        if not data and not self._stale:
            return [], []
        before = dict(self.links)
        self._left.clear()
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
            self._stale = True  # messages were lost: ask for all of them
            return b""

    def _selected(self, here: dict[int, Interface], there: dict[int, Interface]) -> list[Interface]:
        """What is selected here and not there, or was away in between."""
        return [
            link
            for link in here.values()
            if (there.get(link.index) != link or link.index in self._left)
            and matches(link.name, self._globs)
        ]

    def _dump(self) -> None:
        """List everything anew, by a socket of its own: its answers cannot be lost to events."""
        self.links = {}
        self._stale = False
        body = _LINK.pack(0, 0, 0, 0, 0)
        size = _HEADER.size + len(body)
        with _open() as asking:
            asking.settimeout(SECONDS)
            asking.send(_HEADER.pack(size, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
            while not self._apply(asking.recv(DATAGRAM)):
                pass

    def _apply(self, data: bytes) -> bool:
        """Take in a datagram; returns whether a dump ended with it."""
        for kind, body in _messages(data):
            if kind == NLMSG_DONE:
                return True
            if kind == NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, "netlink refused to list the interfaces")
            if kind in (RTM_NEWLINK, RTM_DELLINK):
                family, device, index, _, _ = _LINK.unpack_from(body)
                if family != socket.AF_UNSPEC:  # a bridge telling of its ports
                    continue
                if kind == RTM_NEWLINK:
                    self.links[index] = Interface(index, _name(body), device in ETHERNET_TYPES)
                else:
                    self.links.pop(index, None)
                    self._left.add(index)
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
