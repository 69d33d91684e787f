"""HTTP load over persistent connections: a server and clients in processes of their own."""

import array
import contextlib
import os
import socket
import time

from tests.bench.shortlived import forked
from tests.kernel.net import Pod

PORT = 8080
REQUEST = b"GET /bench HTTP/1.1\r\nhost: bench.example\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + bytes(100)
END = b"\r\n\r\n"
BODY = 100


def serve(address: str, port: int) -> None:
    """Send the same response to every request; one process for each connection."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
        while True:
            peer, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                with contextlib.suppress(OSError):
                    _answer(peer)
                os._exit(0)
            peer.close()


def _answer(peer: socket.socket) -> None:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := peer.recv(4096):
        while not data.endswith(END):
            data += peer.recv(4096)
        peer.sendall(RESPONSE)


def ask(peer: socket.socket) -> None:
    """Send one request and read the whole response."""
    peer.sendall(REQUEST)
    data = peer.recv(4096)
    while True:
        head, found, body = data.partition(END)
        if found and len(body) >= BODY:
            assert head.startswith(b"HTTP/1.1 200")
            return
        more = peer.recv(4096)
        assert more, "the server closed"
        data += more


def client(address: str, port: int, seconds: float, rate: float, out: int) -> None:
    """Latencies in ns of one connection's requests, written to a pipe.

    Args:
        rate: requests per second at even intervals; 0 sends without pause.
    """
    latencies = array.array("q")
    with socket.create_connection((address, port)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(peer)
        clock, began = time.perf_counter_ns, time.perf_counter_ns()
        until, due = began + round(seconds * 1e9), began
        while (now := clock()) < until:
            if rate:
                due += round(1e9 / rate)
                if due > now:
                    time.sleep((due - now) / 1e9)
                now = clock()
            ask(peer)
            latencies.append(clock() - now)
    with os.fdopen(out, "wb") as pipe:
        latencies.tofile(pipe)


def latencies(
    pod: Pod, address: str, port: int, seconds: float, clients: int, rate: float = 0
) -> "array.array[int]":
    """Latencies (ns) of all requests of several clients in a pod; `rate` is their total."""
    with contextlib.ExitStack() as stack:
        pipes: list[int] = []
        for _ in range(clients):
            reading, writing = os.pipe()

            def work(writing: int = writing) -> None:
                client(address, port, seconds, rate / clients, writing)

            stack.enter_context(forked(pod, work))
            os.close(writing)
            pipes.append(reading)
        found: array.array[int] = array.array("q")
        for reading in pipes:
            with os.fdopen(reading, "rb") as pipe:
                found.frombytes(pipe.read())
    return found
