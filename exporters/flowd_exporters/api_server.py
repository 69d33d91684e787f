"""ApiServer: the gRPC server of Hubble's services and flowd.v1.Agent, with health and reflection."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias, cast

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from flowd.wire.health.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flowd.wire.reflection import reflection_pb2 as reflection_v1
from flowd_exporters.h2grpc.server import H2Server
from flowd_exporters.h2grpc.service import (
    Context,
    ServiceTable,
    stream_stream,
    unary_stream,
    unary_unary,
)
from flowd_exporters.h2grpc.tls import Certificates

API_VERSION = "1.19.4"
"""Version of Hubble's API; clients warn when it is above their own."""

REFLECTION = tuple(
    file.DESCRIPTOR.services_by_name["ServerReflection"].full_name
    for file in (reflection_v1, reflection_pb2)
)
"""Full names of the reflection service: grpc.reflection.v1 and v1alpha."""

HEALTH = "grpc.health.v1.Health"
HEALTHY = ("", "hubble.server.Observer", "observer.Observer")
_METADATA = [("hubble-server-version", API_VERSION)]

Register: TypeAlias = Callable[[ServiceTable], None]


class ApiServer:
    """Serves on any number of addresses.

    Args:
        listen: `host:port` (port 0 for a free one, an empty host for all addresses) or
            `unix:///path`.
        services: functions that register a service each.
        certificates: for TLS on every `host:port`; None for plain text.

    Attributes:
        addresses: listen addresses with the real ports; empty before `start`.
    """

    def __init__(
        self,
        listen: Sequence[str],
        services: Sequence[Register],
        certificates: Certificates | None = None,
    ) -> None:
        self.addresses: list[str] = []
        self._listen = list(listen)
        self._health = _Health()
        table = ServiceTable()
        for register in (*services, self._health.add_to, _add_reflection):
            register(table)
        self._server = H2Server(table, _METADATA, certificates)

    async def start(self) -> None:
        """Listen and begin to serve.

        Raises:
            UsageError: an address is malformed, in use, or may not be bound; nothing is served.
        """
        self.addresses = self._server.start(self._listen)

    async def stop(self, grace: float | None = None) -> None:
        """Refuse new calls, and end the running ones after `grace` seconds."""
        self._health.stop()
        await self._server.stop(grace)


def _add_reflection(services: ServiceTable) -> None:
    """Add grpc.reflection; it lists the services that were registered before it, and itself."""
    servicer: Any = cast("Any", reflection).aio.ReflectionServicer([*services.names, *REFLECTION])
    method = servicer.ServerReflectionInfo
    request = reflection_pb2.ServerReflectionRequest  # the same on the wire in every version
    for name in REFLECTION:
        services.add(name, {"ServerReflectionInfo": stream_stream(method, request)})


class _Health:
    """grpc.health.v1: every service is SERVING until the server stops."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def add_to(self, services: ServiceTable) -> None:
        methods = {
            "Check": unary_unary(self.check, HealthCheckRequest),
            "Watch": unary_stream(self.watch, HealthCheckRequest),
        }
        services.add(HEALTH, methods)

    def stop(self) -> None:
        self._stopping.set()

    async def check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        if request.service not in HEALTHY:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._status(request.service)

    async def watch(
        self, request: HealthCheckRequest, context: Context
    ) -> AsyncIterator[HealthCheckResponse]:
        yield self._status(request.service)
        await self._stopping.wait()
        yield self._status(request.service)

    def _status(self, service: str) -> HealthCheckResponse:
        if service not in HEALTHY:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        if self._stopping.is_set():
            return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
        return HealthCheckResponse(status=HealthCheckResponse.SERVING)
