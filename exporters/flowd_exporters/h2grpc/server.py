"""H2Server: accept gRPC clients on TCP and unix sockets, and stop gracefully."""

import asyncio
import logging
import socket
from collections.abc import Sequence

import grpc

from flowd_exporters.h2grpc.connection import ConnectionPolicy, GrpcConnection, HeaderList
from flowd_exporters.h2grpc.listen import ListenAddress, listen
from flowd_exporters.h2grpc.messages import Aborted
from flowd_exporters.h2grpc.service import ServiceTable
from flowd_exporters.h2grpc.tls import Certificates

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
_HANDSHAKE_SECONDS = 10.0
_CLOSE_SECONDS = 1.0
_RETRY_SECONDS = 0.2


class H2Server:
    """A gRPC server on any number of addresses.

    Args:
        metadata: headers of every response.
        certificates: for TLS on all but unix sockets.
        policy: keepalive and control-frame limits of each connection.

    Attributes:
        connections: open connections, at most MAX_CONNECTIONS.
    """

    def __init__(
        self,
        services: ServiceTable,
        metadata: HeaderList,
        certificates: Certificates | None = None,
        policy: ConnectionPolicy | None = None,
    ) -> None:
        self.services = services
        self._metadata = metadata
        self._certificates = certificates
        self._policy = policy or ConnectionPolicy()
        self._listeners: list[ListenAddress] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self.connections: set[GrpcConnection] = set()

    def start(self, addresses: Sequence[str]) -> list[str]:
        """Begin to serve; returns the addresses with the real ports.

        Raises:
            UsageError: an address is malformed, in use, or may not be bound; nothing is served.
        """
        try:
            for address in addresses:
                self._listeners.append(listen(address))
        except Exception:
            self._close_listeners()
            raise
        self._accepting = [
            asyncio.create_task(self._accept(one, listener.local), name="grpc-accept")
            for listener in self._listeners
            for one in listener.sockets
        ]
        return [listener.address for listener in self._listeners]

    async def stop(self, grace: float | None = None) -> None:
        """Refuse new calls, and end the running ones after `grace` seconds."""
        for task in (*self._accepting, *self._handshakes):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._handshakes, return_exceptions=True)
        self._close_listeners()
        for connection in list(self.connections):
            connection.go_away()
        if grace and (running := self._running()):
            await asyncio.wait(running, timeout=grace)
        for connection in list(self.connections):
            connection.cancel_calls(Aborted(grpc.StatusCode.UNAVAILABLE, "the agent stops"))
        await asyncio.gather(*self._running(), return_exceptions=True)
        async with asyncio.TaskGroup() as group:
            for connection in list(self.connections):
                group.create_task(connection.wait_closed(_CLOSE_SECONDS))

    def _running(self) -> list[asyncio.Task[Aborted]]:
        return [task for connection in self.connections for task in connection.tasks]

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _accept(self, listening: socket.socket, local: bool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("cannot take in a client of the API: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if len(self.connections) + len(self._handshakes) >= MAX_CONNECTIONS:
                log.warning("the API has %d clients, one more was sent away", MAX_CONNECTIONS)
                client.close()
                continue
            task = asyncio.create_task(self._handshake(client, local), name="grpc-greet")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, client: socket.socket, local: bool) -> None:
        certificates = None if local else self._certificates
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._new_connection,
                client,
                ssl=certificates.context() if certificates else None,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if certificates else None,
                ssl_shutdown_timeout=_CLOSE_SECONDS if certificates else None,
            )
        except OSError as error:  # TLS errors are among these
            log.debug("a client of the API could not be taken in: %s", error)

    def _new_connection(self) -> GrpcConnection:
        return GrpcConnection(
            self.services,
            self._metadata,
            self.connections.add,
            self.connections.discard,
            self._policy,
        )
