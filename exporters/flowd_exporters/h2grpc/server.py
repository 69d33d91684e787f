"""Listens, takes clients in, and sends them away again."""

import asyncio
import logging
import socket
from collections.abc import Sequence

import grpc

from flowd_exporters.h2grpc.connection import Connection, Headers, Patience
from flowd_exporters.h2grpc.listen import Listener, listen
from flowd_exporters.h2grpc.messages import Aborted
from flowd_exporters.h2grpc.service import Services
from flowd_exporters.h2grpc.tls import Certificates

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1024
_HANDSHAKE_SECONDS = 10.0
_CLOSE_SECONDS = 1.0
_RETRY_SECONDS = 0.2


class H2Server:
    """A gRPC server on any number of addresses.

    Args:
        metadata: headers of every answer.
        certificates: for TLS on all but unix sockets.

    Attributes:
        connections: clients that are served now.
    """

    def __init__(
        self,
        services: Services,
        metadata: Headers,
        certificates: Certificates | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.services = services
        self._metadata = metadata
        self._certificates = certificates
        self._patience = patience or Patience()
        self._listeners: list[Listener] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._greeting: set[asyncio.Task[None]] = set()
        self.connections: set[Connection] = set()

    def start(self, addresses: Sequence[str]) -> list[str]:
        """Serve from now on; returns the addresses with the ports as they are.

        Raises:
            UsageError: an address is malformed, in use, or may not be bound; nothing is served.
        """
        try:
            for address in addresses:
                self._listeners.append(listen(address))
        except Exception:
            self._unlisten()
            raise
        self._accepting = [
            asyncio.create_task(self._accept(one, listener.local), name="grpc-accept")
            for listener in self._listeners
            for one in listener.sockets
        ]
        return [listener.address for listener in self._listeners]

    async def stop(self, grace: float | None = None) -> None:
        """Take no more calls, and end those that run within `grace` seconds."""
        for task in (*self._accepting, *self._greeting):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._greeting, return_exceptions=True)
        self._unlisten()
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

    def _unlisten(self) -> None:
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
            if len(self.connections) + len(self._greeting) >= MAX_CONNECTIONS:
                log.warning("the API has %d clients, one more was sent away", MAX_CONNECTIONS)
                client.close()
                continue
            task = asyncio.create_task(self._greet(client, local), name="grpc-greet")
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _greet(self, client: socket.socket, local: bool) -> None:
        certificates = None if local else self._certificates
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection,
                client,
                ssl=certificates.context() if certificates else None,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if certificates else None,
                ssl_shutdown_timeout=_CLOSE_SECONDS if certificates else None,
            )
        except OSError as error:  # TLS errors are among these
            log.debug("a client of the API could not be taken in: %s", error)

    def _connection(self) -> Connection:
        return Connection(
            self.services,
            self._metadata,
            self.connections.add,
            self.connections.discard,
            self._patience,
        )
