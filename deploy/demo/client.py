"""The demo's clients: threads in the client pods that send what `traffic` describes."""

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

from demo import network
from demo.backend import Recorder
from demo.errors import DemoError
from demo.objects import container_port
from demo.state import State, reserve
from demo.topology import Pod, Topology
from demo.traffic import DECK, Kind, Route, fresh, kind_of, traced

PORTS = {"http": 80, "https": 443, "tls": 8443}
WORKERS = 4  # connections that one client pod keeps busy at a time
TIMEOUT = 10.0
STALL = 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as the client knows it; a line of `sent.jsonl`.

    Attributes:
        seq: its number, in the header x-flowd-seq.
        kind: name of the traffic.Kind.
        time_ns, duration_ns: Unix time of sending, and until the answer was read.
        pod, namespace: the client.
        client, client_port, server, server_port: the client's socket.
        fresh: the request opened the connection.
        status, backend, request_id: of the answer; backend is `namespace/pod`, or "" when the
            gateway answered by itself, as it also does for a backend that failed.
        expected_status, route, backends, by_gateway: what the manifests say, see traffic.Kind.
        error: what went wrong below HTTP, or "".
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
    route: Route | None
    backends: list[tuple[str, str]]
    by_gateway: bool
    error: str


def read_sent(lines: Iterable[str]) -> Iterator[Sent]:
    """Sent records from lines of JSON."""
    for line in lines:
        data = json.loads(line)
        data["route"] = Route(**data["route"]) if data["route"] else None
        data["backends"] = [(space, app) for space, app in data["backends"]]
        yield Sent(**data)


class Worker(threading.Thread):
    """Sends what comes through a queue, from one pod, over connections it keeps."""

    def __init__(
        self,
        topology: Topology,
        directory: Path,
        pod: Pod,
        jobs: queue.Queue[int | None],
        done: Callable[[Sent], None],
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

    def _send(self, seq: int, kind: Kind) -> Sent:
        headers = {"host": kind.host, "user-agent": self._pod.app, "x-flowd-seq": str(seq)}
        headers |= kind.headers
        if traced(seq):
            headers["traceparent"] = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
        began, clock = time.time_ns(), time.monotonic_ns()
        status, backend, request_id, error = 0, "", "", ""
        key = (kind.listener, kind.host if kind.listener != "http" else "")
        alone = fresh(seq) or kind.listener == "tls"
        connection = None if alone else self._kept.pop(key, None)
        opened = connection is None
        ends = ("", 0), ("", 0)
        try:
            if connection is None:
                connection = self._connection(kind)
                connection.sock = self._open(PORTS[kind.listener])
            ends = connection.sock.getsockname(), connection.sock.getpeername()
            if opened and kind.listener != "http":
                connection.sock = self._tls(kind).wrap_socket(
                    connection.sock, server_hostname=kind.host
                )
            connection.request(kind.method, kind.path, b"x" * kind.body or None, headers)
            answer = connection.getresponse()
            answer.read()
            status = answer.status
            backend = answer.headers.get("x-flowd-backend", "")
            request_id = answer.headers.get("x-request-id", "")
            if alone or answer.will_close:
                connection.close()
            else:
                self._kept[key] = connection
        except (OSError, http.client.HTTPException) as failure:
            error = f"{type(failure).__name__}: {failure}"
            if connection is not None:
                connection.close()
        return Sent(
            seq=seq,
            kind=kind.name,
            time_ns=began,
            duration_ns=time.monotonic_ns() - clock,
            pod=self._pod.name,
            namespace=self._pod.namespace,
            client=ends[0][0],
            client_port=ends[0][1],
            server=ends[1][0],
            server_port=ends[1][1],
            fresh=opened,
            listener=kind.listener,
            host=kind.host,
            method=kind.method,
            path=kind.path,
            headers=headers,
            status=status,
            backend=backend,
            request_id=request_id,
            expected_status=kind.expected_status(seq),
            route=kind.route,
            backends=list(kind.backends),
            by_gateway=kind.by_gateway,
            error=error,
        )

    def _connection(self, kind: Kind) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(kind.host, timeout=TIMEOUT)
        connection.auto_open = 0
        return connection

    def _open(self, listener_port: int) -> socket.socket:
        topology, port = self._topology, container_port(listener_port)
        last = 1 if topology.speaks6(self._pod) else 0
        server = topology.addresses(topology.gateway)[last]
        source = (topology.address(self._pod), 0) if topology.loopback else None
        opened = socket.create_connection((server, port), TIMEOUT, source)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def _tls(self, kind: Kind) -> ssl.SSLContext:
        name = "gateway" if kind.listener == "https" else "tls-echo"
        return ssl.create_default_context(cafile=str(self._directory / f"{name}.crt"))


class Clients:
    """All client pods of a demo.

    Args:
        state, directory: of the demo.
        keep: whether `finish` returns what was sent.
    """

    def __init__(self, state: State, directory: Path, keep: bool) -> None:
        self._recorder = Recorder(directory / "sent.jsonl" if state.record else None)
        self._keep = keep
        self._sent: list[Sent] = []
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

    def _done(self, record: Sent) -> None:
        self._recorder.write(asdict(record))
        if self._keep:
            self._sent.append(record)

    def send(self, numbers: Iterable[int], rate: float) -> None:
        """Hand out request numbers at a rate a second; 0 is as fast as the gateway answers.

        Raises:
            DemoError: the clients have stopped taking them.
        """
        due = time.monotonic()
        for seq in numbers:
            try:
                self._queues[seq % len(self._queues)].put(seq, timeout=STALL)
            except queue.Full:
                raise DemoError("the demo's clients are stuck") from None
            if rate:
                due = max(due + 1 / rate, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))

    def finish(self) -> list[Sent]:
        """Wait for every answer; what was sent, in order of number."""
        for jobs in self._queues:
            for _ in range(WORKERS):
                jobs.put(None)
        for worker in self._workers:
            worker.join()
        self._recorder.close()
        return sorted(self._sent, key=lambda record: record.seq)


def run(state: State, directory: Path, count: int, rate: float) -> list[Sent]:
    """Send exactly count requests; returns what became of each, in order."""
    first = reserve(directory, count)
    clients = Clients(state, directory, keep=True)
    clients.send(range(first, first + count), rate)
    return clients.finish()


def _endless(directory: Path) -> Iterator[int]:
    while True:
        first = reserve(directory, DECK)
        yield from range(first, first + DECK)


def send_steadily(state: State, directory: Path) -> None:
    """Send at the demo's rate, without end."""
    Clients(state, directory, keep=False).send(_endless(directory), state.rate)
