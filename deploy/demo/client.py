"""Clients of the demo: threads in the client pods that send the requests of `traffic`."""

import http.client
import json
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from demo import network
from demo.backend import Recorder
from demo.cluster.errors import DemoError
from demo.cluster.objects import container_port
from demo.cluster.topology import DemoPod, Topology
from demo.state import DemoState, reserve
from demo.traffic import (
    CYCLE,
    ExpectedRoute,
    RequestKind,
    has_traceparent,
    kind_of,
    opens_connection,
)

PORTS = {"http": 80, "https": 443, "tls": 8443}
WORKERS = 4  # threads of one client pod, each with connections of its own
TIMEOUT = 10.0  # seconds for one request
STALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SentRequest:
    """One request as the client sent it, with its response; a line of `sent.jsonl`.

    Attributes:
        seq: number of the request, in header x-flowd-seq.
        kind: name of the traffic.RequestKind.
        time_ns, duration_ns: Unix time of sending, and time until the response was read.
        pod, namespace: the client pod.
        client, client_port, server, server_port: addresses of the client's socket.
        fresh: the request opened the connection.
        status, backend, request_id: of the response; backend is `namespace/pod`, or "" for a
            response of the gateway itself, also for a backend that failed.
        expected_status, route, backends, by_gateway: expected result, see traffic.RequestKind.
        error: error below HTTP, or "".
    """

    seq: int
    kind: str
    time_ns: int
    duration_ns: int
    pod: str
    namespace: str
    client: str
    client_port: int
    server: str
    server_port: int
    fresh: bool
    listener: str
    host: str
    method: str
    path: str
    headers: dict[str, str]
    status: int
    backend: str
    request_id: str
    expected_status: int
    route: ExpectedRoute | None
    backends: list[tuple[str, str]]
    by_gateway: bool
    error: str


def read_sent(lines: Iterable[str]) -> Iterator[SentRequest]:
    """Parse lines of `sent.jsonl`."""
    for line in lines:
        data = json.loads(line)
        data["route"] = ExpectedRoute(**data["route"]) if data["route"] else None
        data["backends"] = [(namespace, app) for namespace, app in data["backends"]]
        yield SentRequest(**data)


@dataclass(slots=True)
class _Answer:
    """Outcome of one request: the client's socket, and what the response says."""

    opened: bool
    local: tuple[Any, ...] = ("", 0)
    remote: tuple[Any, ...] = ("", 0)
    status: int = 0
    backend: str = ""
    request_id: str = ""
    error: str = ""


class Worker(threading.Thread):
    """Thread that sends the requests of a queue from one pod, over persistent connections.

    Args:
        directory: of the demo, with its certificates.
        jobs: request numbers; None ends the thread.
        done: called with each answered request.
    """

    def __init__(
        self,
        topology: Topology,
        directory: Path,
        pod: DemoPod,
        jobs: queue.Queue[int | None],
        done: Callable[[SentRequest], None],
    ) -> None:
        super().__init__(daemon=True)
        self._topology = topology
        self._directory = directory
        self._pod = pod
        self._jobs = jobs
        self._done = done
        self._kept: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def run(self) -> None:
        network.enter(self._topology, self._pod)
        while (seq := self._jobs.get()) is not None:
            self._done(self._send(seq, kind_of(seq)))
        for connection in self._kept.values():
            connection.close()

    def _send(self, seq: int, kind: RequestKind) -> SentRequest:
        headers = {"host": kind.host, "user-agent": self._pod.app, "x-flowd-seq": str(seq)}
        headers |= kind.headers
        if has_traceparent(seq):
            headers["traceparent"] = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
        sent_ns, started_ns = time.time_ns(), time.monotonic_ns()
        answer = self._exchange(
            kind, headers, alone=opens_connection(seq) or kind.listener == "tls"
        )
        duration_ns = time.monotonic_ns() - started_ns
        return SentRequest(
            seq=seq,
            kind=kind.name,
            time_ns=sent_ns,
            duration_ns=duration_ns,
            pod=self._pod.name,
            namespace=self._pod.namespace,
            client=answer.local[0],
            client_port=answer.local[1],
            server=answer.remote[0],
            server_port=answer.remote[1],
            fresh=answer.opened,
            listener=kind.listener,
            host=kind.host,
            method=kind.method,
            path=kind.path,
            headers=headers,
            status=answer.status,
            backend=answer.backend,
            request_id=answer.request_id,
            expected_status=kind.expected_status(seq),
            route=kind.route,
            backends=list(kind.backends),
            by_gateway=kind.by_gateway,
            error=answer.error,
        )

    def _exchange(self, kind: RequestKind, headers: dict[str, str], alone: bool) -> "_Answer":
        """Send one request and read its answer.

        Args:
            alone: use a connection for this request only, instead of a kept one.
        """
        key = (kind.listener, kind.host if kind.listener != "http" else "")
        connection = None if alone else self._kept.pop(key, None)
        answer = _Answer(opened=connection is None)
        try:
            if connection is None:
                connection = self._connection(kind)
                connection.sock = self._open(PORTS[kind.listener])
            answer.local = connection.sock.getsockname()
            answer.remote = connection.sock.getpeername()
            if answer.opened and kind.listener != "http":
                connection.sock = self._tls(kind).wrap_socket(
                    connection.sock, server_hostname=kind.host
                )
            connection.request(kind.method, kind.path, b"x" * kind.body or None, headers)
            response = connection.getresponse()
            response.read()
            answer.status = response.status
            answer.backend = response.headers.get("x-flowd-backend", "")
            answer.request_id = response.headers.get("x-request-id", "")
            if alone or response.will_close:
                connection.close()
            else:
                self._kept[key] = connection
        except (OSError, http.client.HTTPException) as failure:
            answer.error = f"{type(failure).__name__}: {failure}"
            if connection is not None:
                connection.close()
        return answer

    def _connection(self, kind: RequestKind) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(kind.host, timeout=TIMEOUT)
        connection.auto_open = 0
        return connection

    def _open(self, listener_port: int) -> socket.socket:
        topology, port = self._topology, container_port(listener_port)
        last = 1 if topology.uses_ipv6(self._pod) else 0
        server = topology.addresses(topology.gateway)[last]
        source = (topology.address(self._pod), 0) if topology.loopback else None
        opened = socket.create_connection((server, port), TIMEOUT, source)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def _tls(self, kind: RequestKind) -> ssl.SSLContext:
        name = "gateway" if kind.listener == "https" else "tls-echo"
        return ssl.create_default_context(cafile=str(self._directory / f"{name}.crt"))


class Clients:
    """Workers of all client pods of a demo.

    Args:
        keep: keep the requests in memory, so that `finish` returns them.
    """

    def __init__(self, state: DemoState, directory: Path, keep: bool) -> None:
        self._recorder = Recorder(directory / "sent.jsonl" if state.record else None)
        self._keep = keep
        self._sent: list[SentRequest] = []
        self._queues: list[queue.Queue[int | None]] = []
        self._workers: list[Worker] = []
        for pod in state.topology.clients:
            jobs: queue.Queue[int | None] = queue.Queue(256)
            self._queues.append(jobs)
            self._workers += [
                Worker(state.topology, directory, pod, jobs, self._done) for _ in range(WORKERS)
            ]
        for worker in self._workers:
            worker.start()

    def _done(self, record: SentRequest) -> None:
        self._recorder.write(asdict(record))
        if self._keep:
            self._sent.append(record)

    def send(self, numbers: Iterable[int], rate: float) -> None:
        """Queue request numbers at `rate` a second; 0 is as fast as the gateway answers.

        Raises:
            DemoError: a queue stays full for STALL_SECONDS.
        """
        due = time.monotonic()
        for seq in numbers:
            try:
                self._queues[seq % len(self._queues)].put(seq, timeout=STALL_SECONDS)
            except queue.Full:
                raise DemoError("the demo's clients are stuck") from None
            if rate:
                due = max(due + 1 / rate, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))

    def finish(self) -> list[SentRequest]:
        """Wait for every response; returns the kept requests in the order of their numbers."""
        for jobs in self._queues:
            for _ in range(WORKERS):
                jobs.put(None)
        for worker in self._workers:
            worker.join()
        self._recorder.close()
        return sorted(self._sent, key=lambda record: record.seq)


def run(state: DemoState, directory: Path, count: int, rate: float) -> list[SentRequest]:
    """Send exactly `count` requests; returns them with their results, in order."""
    first = reserve(directory, count)
    clients = Clients(state, directory, keep=True)
    clients.send(range(first, first + count), rate)
    return clients.finish()


def _endless(directory: Path) -> Iterator[int]:
    while True:
        first = reserve(directory, CYCLE)
        yield from range(first, first + CYCLE)


def send_steadily(state: DemoState, directory: Path) -> None:
    """Send requests at the demo's rate until the process ends."""
    Clients(state, directory, keep=False).send(_endless(directory), state.rate)
