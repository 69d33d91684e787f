"""Traffic between pods, by real sockets; blocking, so tests run it with asyncio.to_thread."""

import contextlib
import socket
import struct
import threading
from collections.abc import Generator

from tests.kernel.net import Pod

PORT = 8080
FAMILIES = (socket.AF_INET, socket.AF_INET6)


@contextlib.contextmanager
def serving(
    server: Pod, connections: int, size: int, family: socket.AddressFamily, port: int = PORT
) -> Generator[None]:
    """Accept `connections` in turn: read `size` bytes, send as many, close after the peer."""
    listener = server.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((server.at(family), port))
    listener.listen(128)
    errors: list[BaseException] = []

    def serve() -> None:
        try:
            for _ in range(connections):
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(20)
                    receive(peer, size)
                    peer.sendall(bytes(size))
                    assert peer.recv(1) == b""
        except BaseException as error:  # noqa: BLE001 (told by the other thread)
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        listener.close()
    if errors:
        raise errors[0]


def receive(peer: socket.socket, size: int) -> None:
    """Read exactly size bytes."""
    while size:
        got = len(peer.recv(min(size, 1 << 16)))
        assert got, "the peer closed early"
        size -= got


def tcp(
    client: Pod,
    server: Pod,
    connections: int = 1,
    size: int = 1000,
    family: socket.AddressFamily = socket.AF_INET,
    *,
    client_port: int = 0,
) -> None:
    """Connections one after the other, `size` bytes each way, closed by the client."""
    with serving(server, connections, size, family):
        for _ in range(connections):
            with client.socket(family, socket.SOCK_STREAM) as peer:
                if client_port:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    peer.bind((client.at(family), client_port))
                peer.connect((server.at(family), PORT))
                peer.sendall(bytes(size))
                receive(peer, size)


def refused(client: Pod, server: Pod, port: int = 9) -> None:
    """Connect to a port without a listener."""
    with (
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as peer,
        contextlib.suppress(ConnectionRefusedError),
    ):
        peer.connect((server.address, port))
        raise AssertionError("somebody listens")


def reset(client: Pod, server: Pod, size: int = 1000) -> None:
    """A connection that the client resets after an exchange."""
    with server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((server.address, PORT))
        listener.listen()
        peer = client.socket(socket.AF_INET, socket.SOCK_STREAM)
        peer.connect((server.address, PORT))
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(20)
            peer.sendall(bytes(size))
            receive(accepted, size)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with contextlib.suppress(ConnectionResetError):
                accepted.recv(1)


def udp(
    client: Pod,
    server: Pod,
    datagrams: int = 10,
    size: int = 100,
    family: socket.AddressFamily = socket.AF_INET,
) -> None:
    """Datagrams from one socket, each answered by one of the same size."""
    with (
        server.socket(family, socket.SOCK_DGRAM) as answering,
        client.socket(family, socket.SOCK_DGRAM) as asking,
    ):
        answering.bind((server.at(family), PORT))
        for _ in range(datagrams):
            asking.sendto(bytes(size), (server.at(family), PORT))
            data, peer = answering.recvfrom(size)
            answering.sendto(data, peer)
            asking.recv(size)


def ping(
    client: Pod, server: Pod, count: int = 3, family: socket.AddressFamily = socket.AF_INET
) -> None:
    """Echo requests of one identifier, each answered by the kernel."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    kind = 8 if family == socket.AF_INET else 128
    with client.socket(family, socket.SOCK_DGRAM, protocol) as asking:
        for number in range(count):
            echo = struct.pack("!BBHHH", kind, 0, 0, 0, number) + bytes(56)
            asking.sendto(echo, (server.at(family), 0))
            asking.recv(1024)
