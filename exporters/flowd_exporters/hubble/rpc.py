"""A gRPC service as a table of methods."""

# grpc's handler factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

RequestT = TypeVar("RequestT", bound=Message)


class Context(Protocol):
    """What is used of `grpc.aio.ServicerContext`."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn: ...


Unary: TypeAlias = Callable[[RequestT, Context], Awaitable[Message]]
Stream: TypeAlias = Callable[[RequestT, Context], AsyncIterator[Message]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def unary(method: Unary[RequestT], request: type[RequestT]) -> Handler:
    """One request, one answer."""
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=_serialize
    )


def stream(method: Stream[RequestT], request: type[RequestT]) -> Handler:
    """One request, any number of answers."""
    return grpc.unary_stream_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=_serialize
    )


def add_service(server: grpc.aio.Server, name: str, methods: Mapping[str, Handler]) -> None:
    """Register a service under its full name."""
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, dict(methods)),))
