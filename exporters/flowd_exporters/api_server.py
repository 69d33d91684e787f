"""The gRPC server that carries Hubble's services and flowd's own, with health and reflection."""

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
from flowd_exporters.h2grpc.service import Context, Services, chat, stream, unary
from flowd_exporters.h2grpc.tls import Certificates

API_VERSION = "1.19.4"
"""The version of Hubble whose API this server speaks; clients warn when it is above their own."""

REFLECTION = tuple(
    file.DESCRIPTOR.services_by_name["ServerReflection"].full_name
    for file in (reflection_v1, reflection_pb2)
)
"""The names under which the services describe themselves: that of today and the one before."""

HEALTH = "grpc.health.v1.Health"
HEALTHY = ("", "hubble.server.Observer", "observer.Observer")
_METADATA = [("hubble-server-version", API_VERSION)]

Register: TypeAlias = Callable[[Services], None]


class ApiServer:
    """Serves on any number of addresses.

    Args:
        listen: `host:port` (port 0 for any, an empty host for all addresses) or `unix:///path`.
        services: functions that register a service each.
        certificates: for TLS on every `host:port`; without, all is plain text.

    Attributes:
        addresses: what is listened on, with the ports as they are; empty before `start`.
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
        held = Services()
        for register in (*services, self._health.add_to, _add_reflection):
            register(held)
        self._server = H2Server(held, _METADATA, certificates)

    async def start(self) -> None:
        """Listen, and serve from now on.

        Raises:
            UsageError: an address is malformed, in use, or may not be bound; nothing is served.
        """
        self.addresses = self._server.start(self._listen)

    async def stop(self, grace: float | None = None) -> None:
        """Take no more calls, and end those that run within `grace` seconds."""
        self._health.stop()
        await self._server.stop(grace)


def _add_reflection(services: Services) -> None:
    """grpc.reflection of all services, itself among them; registered last."""
    held: Any = cast("Any", reflection).aio.ReflectionServicer([*services.names, *REFLECTION])
    answer = held.ServerReflectionInfo
    request = reflection_pb2.ServerReflectionRequest  # the same on the wire in every version
    for name in REFLECTION:
        services.add(name, {"ServerReflectionInfo": chat(answer, request)})


class _Health:
    """grpc.health.v1: everything serves until the server stops."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def add_to(self, services: Services) -> None:
        methods = {
            "Check": unary(self.check, HealthCheckRequest),
            "Watch": stream(self.watch, HealthCheckRequest),
        }
        services.add(HEALTH, methods)

    def stop(self) -> None:
        self._stopping.set()

    async def check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        if request.service not in HEALTHY:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._answer(request.service)

    async def watch(
        self, request: HealthCheckRequest, context: Context
    ) -> AsyncIterator[HealthCheckResponse]:
        yield self._answer(request.service)
        await self._stopping.wait()
        yield self._answer(request.service)

    def _answer(self, service: str) -> HealthCheckResponse:
        if service not in HEALTHY:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        if self._stopping.is_set():
            return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
        return HealthCheckResponse(status=HealthCheckResponse.SERVING)
