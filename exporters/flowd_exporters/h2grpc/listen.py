"""Parse listen addresses and open their TCP and unix sockets."""

import errno
import os
import re
import socket
import stat
from dataclasses import dataclass

from flowd.errors import UsageError

_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """One listen address with its sockets.

    Attributes:
        address: `host:port` with the real port, or `unix:///path`.
        sockets: listening, non-blocking; one for each address family.
        local: whether it is a unix socket.
    """

    address: str
    sockets: list[socket.socket]
    local: bool

    def close(self) -> None:
        """Close the sockets and remove the file of a unix socket."""
        for one in self.sockets:
            path = one.getsockname() if self.local else ""
            one.close()
            if path and os.path.exists(path):
                os.unlink(path)


def parse_address(address: str) -> tuple[str, int | None]:
    """Host and port of `host:port`, or path and None of `unix:///path`.

    Raises:
        UsageError: the address has another form.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise UsageError(f"listen address {address!r} names no socket", "unix:///path")
        return path, None
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]*):([0-9]{1,5})", address)
    if not match or int(match[2]) > 65535:
        raise UsageError(f"listen address {address!r} cannot be used", "host:port or unix:///path")
    everywhere = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"
    return match[1] or everywhere, int(match[2])


def listen(address: str) -> ListenAddress:
    """Listen on an address; port 0 takes a free port.

    Raises:
        UsageError: the address is malformed, in use, or may not be bound.
    """
    host, port = parse_address(address)
    if port is None:
        return _listen_local(host)
    shown = f"{host}:{port}"
    try:
        infos = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"cannot listen on {shown}: no such host") from None
    sockets: list[socket.socket] = []
    try:
        for family, kind, proto, _, sockaddr in infos:
            one = socket.socket(family, kind, proto)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "[::]")
            one.bind((sockaddr[0], port, *sockaddr[2:]))
            port = int(one.getsockname()[1])  # the next family takes the same port
            one.listen(_BACKLOG)
            one.setblocking(False)
    except OSError as error:
        for one in sockets:
            one.close()
        raise _unusable(shown, error) from None
    return ListenAddress(f"{host}:{port}", sockets, local=False)


def _listen_local(path: str) -> ListenAddress:
    _remove_stale_socket(path)
    one = socket.socket(socket.AF_UNIX)
    try:
        one.bind(path)
        one.listen(_BACKLOG)
    except OSError as error:
        one.close()
        raise _unusable(path, error) from None
    one.setblocking(False)
    return ListenAddress(f"unix://{path}", [one], local=True)


def _remove_stale_socket(path: str) -> None:
    """Remove a unix socket without a listener, left by a process that ended."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise UsageError(f"cannot listen on {path}: it is there and is no socket")
        with socket.socket(socket.AF_UNIX) as one:
            if one.connect_ex(path) != errno.ECONNREFUSED:
                raise _unusable(path, OSError(errno.EADDRINUSE, ""))
        os.unlink(path)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            raise UsageError(f"cannot listen on {path}: no such directory") from None
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(address: str, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"cannot listen on {address}: in use", "stop the other one, or choose another"
        )
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return UsageError(f"cannot listen on {address}: {reason}")
