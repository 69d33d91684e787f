"""Short TCP connections at the machine's maximum rate, in separate processes."""

import contextlib
import functools
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Generator

from tests.kernel.net import Pod, inside

PORTS = range(8000, 8008)
SIZE = 100
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the port is free again at once


@contextlib.contextmanager
def forked(pod: Pod, work: Callable[[], object]) -> Generator[int]:
    """Run `work` in a child process in a pod's namespace; yields its pid, kills it at the end."""
    child = os.fork()
    if child == 0:
        try:
            with inside(pod.namespace):
                work()
        finally:
            os._exit(0)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def wide(pod: Pod) -> None:
    """Open the whole range of client ports."""
    with inside(pod.namespace), open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
        file.write("1024 65535")


def answer(address: str, port: int, ready: int) -> None:
    """Accept connections one by one, read a request and answer it; writes to `ready` once it listens."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(4096)
        os.write(ready, b".")
        said = bytes(SIZE)
        while True:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(OSError):
                if peer.recv(SIZE):
                    peer.sendall(said)
                    peer.recv(1)


def connect(address: str, port: int, seconds: float, limit: int = 0) -> int:
    """Open connections with one request each, closed by a reset; returns their number."""
    made, until, said = 0, time.monotonic() + seconds, bytes(SIZE)
    while time.monotonic() < until and (not limit or made < limit):
        with socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.connect((address, port))
            peer.sendall(said)
            while peer.recv(SIZE) == b"":
                break
            made += 1
    return made


def burst(clients: list[Pod], server: Pod, seconds: float, limit: int = 0) -> tuple[int, float]:
    """Run all clients at once, each to its own port; returns connections made and seconds taken.

    Args:
        limit: maximum connections of each client; 0 is unlimited.
    """
    with contextlib.ExitStack() as stack:
        (readied, ready), (going, go) = os.pipe(), os.pipe()
        for fd in (readied, ready, going, go):
            stack.callback(os.close, fd)
        pipes: list[int] = []
        for port, client in zip(PORTS, clients, strict=False):
            reading, writing = os.pipe()
            stack.callback(os.close, reading)

            def work(port: int = port, writing: int = writing) -> None:
                os.write(ready, b".")
                os.read(going, 1)
                made = connect(server.address, port, seconds, limit)
                os.write(writing, made.to_bytes(8, "little"))

            listen = functools.partial(answer, server.address, port, ready)
            stack.enter_context(forked(server, listen))
            stack.enter_context(forked(client, work))
            os.close(writing)
            pipes.append(reading)
        for _ in range(2 * len(pipes)):
            os.read(readied, 1)
        began = time.monotonic()
        os.write(go, bytes(len(pipes)))
        made = sum(int.from_bytes(os.read(reading, 8), "little") for reading in pipes)
        took = time.monotonic() - began
    return made, took
