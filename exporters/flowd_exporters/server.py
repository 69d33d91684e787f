"""The gRPC server that carries Hubble's services and flowd's own, with health and reflection."""

# grpc's handlers are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeArgument=false

import asyncio
import errno
import os
import re
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias, cast

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from flowd.errors import UsageError
from flowd.wire.health.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flowd_exporters.hubble.rpc import Context, add_service, stream, unary

API_VERSION = "1.19.4"
"""The version of Hubble whose API this server speaks; clients warn when it is above their own."""

HEALTH = "grpc.health.v1.Health"
HEALTHY = ("", "hubble.server.Observer", "observer.Observer")
_METADATA = (("hubble-server-version", API_VERSION),)
_OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),  # hubble-relay pings idle connections
    ("grpc.keepalive_permit_without_calls", 1),
]

Register: TypeAlias = Callable[[grpc.aio.Server], None]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class ApiServer:
    """Serves on any number of addresses.

    Args:
        listen: `host:port` (port 0 for any, an empty host for all addresses) or `unix:///path`.
        services: functions that register a service each.

    Attributes:
        addresses: what is listened on, with the ports as they are; empty before `start`.
    """

    def __init__(self, listen: Sequence[str], services: Sequence[Register]) -> None:
        self.addresses: list[str] = []
        self._listen = list(listen)
        self._services = list(services)
        self._health = _Health()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen, and serve from now on.

        Raises:
            UsageError: an address is malformed, in use, or may not be bound; nothing is served.
        """
        targets = [_target(address) for address in self._listen]
        server = grpc.aio.server(options=_OPTIONS, interceptors=[_Versioned()])
        registry = _Registry(server)
        for register in (*self._services, self._health.add_to):
            register(cast("grpc.aio.Server", registry))
        reflection.enable_server_reflection([*registry.names, reflection.SERVICE_NAME], server)
        try:
            self.addresses = [_bind(server, target) for target in targets]
        except UsageError:
            await server.stop(None)
            raise
        await server.start()
        self._server = server

    async def stop(self, grace: float | None = None) -> None:
        """Take no more calls, and end those that run within `grace` seconds."""
        self._health.stop()
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace)


class _Registry:
    """Stands for the server while services register, to learn their names."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self.names: list[str] = []
        self._server = server

    def add_generic_rpc_handlers(
        self, handlers: Iterable["grpc.GenericRpcHandler[Any, Any]"]
    ) -> None:
        """As the server's, noting the names."""
        held = tuple(handlers)
        self.names += [
            one.service_name() for one in held if isinstance(one, grpc.ServiceRpcHandler)
        ]
        self._server.add_generic_rpc_handlers(held)

    def __getattr__(self, name: str) -> object:
        return getattr(self._server, name)


class _Versioned(grpc.aio.ServerInterceptor):
    """Sends the version of the API at once: the hubble CLI waits for it in the background."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = cast("Any", await continuation(handler_call_details))
        if handler is None or handler.request_streaming:
            return cast("Handler", handler)
        coders = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            many = _versioned_stream(handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(many, *coders)
        return grpc.unary_unary_rpc_method_handler(_versioned(handler.unary_unary), *coders)


def _versioned(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> Any:
        await context.send_initial_metadata(_METADATA)
        return await method(request, context)

    return call


def _versioned_stream(method: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    async def call(request: Any, context: Any) -> None:
        await context.send_initial_metadata(_METADATA)
        answers = method(request, context)
        if not hasattr(answers, "__aiter__"):
            await answers
            return
        async with aclosing(answers):
            async for answer in answers:
                await context.write(answer)

    return call


class _Health:
    """grpc.health.v1: everything serves until the server stops."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        methods = {
            "Check": unary(self.check, HealthCheckRequest),
            "Watch": stream(self.watch, HealthCheckRequest),
        }
        add_service(server, HEALTH, methods)

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


def _target(address: str) -> str:
    """gRPC's form of a listen address."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise UsageError(f"listen address {address!r} names no socket", "unix:///path")
        return f"unix:{path}"
    match = re.fullmatch(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/\s]*):([0-9]{1,5})", address)
    if not match or int(match[2]) > 65535:
        raise UsageError(f"listen address {address!r} cannot be used", "host:port or unix:///path")
    everywhere = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"
    return f"{match[1] or everywhere}:{int(match[2])}"


def _bind(server: grpc.aio.Server, target: str) -> str:
    """Listen on one address; returns it as clients would write it."""
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        _clear_socket(path)
        shown = f"unix://{path}"
    else:
        _probe(target)
        shown = target
    try:
        port = server.add_insecure_port(target)
    except RuntimeError:
        raise UsageError(f"cannot listen on {shown}", "is it free, and of this machine?") from None
    if target.endswith(":0"):
        return f"{target.rpartition(':')[0]}:{port}"
    return shown


def _probe(target: str) -> None:
    """Try an address first: gRPC does not tell why it cannot be bound."""
    host, _, port = target.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror:
        raise UsageError(f"cannot listen on {target}: no such host") from None
    for family, kind, proto, _, where in found:
        with socket.socket(family, kind, proto) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(where)
                one.listen(1)
            except OSError as error:
                raise _unusable(target, error) from None


def _clear_socket(path: str) -> None:
    """Remove a socket that nobody listens on any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise UsageError(f"cannot listen on {path}: it is there and is no socket")
        with socket.socket(socket.AF_UNIX) as one:
            if one.connect_ex(path) != errno.ECONNREFUSED:
                raise _unusable(path, OSError(errno.EADDRINUSE, ""))
        os.unlink(path)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            raise UsageError(f"cannot listen on {path}: no such directory") from None
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(where: str, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"cannot listen on {where}: in use", "stop the other one, or choose another"
        )
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return UsageError(f"cannot listen on {where}: {reason}")
