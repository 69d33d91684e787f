"""Method tables of gRPC services, independent of the transport."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

RequestT = TypeVar("RequestT", bound=Message)


class Context(Protocol):
    """The call that a method serves, as the method sees it (grpc.aio.ServicerContext)."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status."""
        ...


UnaryUnary: TypeAlias = Callable[[RequestT, Context], Awaitable[Message]]
UnaryStream: TypeAlias = Callable[[RequestT, Context], AsyncIterator[Message | bytes]]
StreamStream: TypeAlias = Callable[[AsyncIterator[RequestT], Context], AsyncIterator[Message]]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, as grpc.RpcMethodHandler.

    Attributes:
        call: an `UnaryUnary`, `UnaryStream` or `StreamStream` function.
        request: message class of the requests.
        request_streaming, response_streaming: whether requests and responses are streams.
    """

    call: Callable[[Any, Context], Any]
    request: type[Message]
    request_streaming: bool = False
    response_streaming: bool = False


def unary_unary(method: UnaryUnary[RequestT], request: type[RequestT]) -> Method:
    """A method with one request and one response."""
    return Method(method, request)


def unary_stream(method: UnaryStream[RequestT], request: type[RequestT]) -> Method:
    """A method with one request and a stream of responses.

    Responses are messages, or bytes of one or many messages in the form of `frame`.
    """
    return Method(method, request, response_streaming=True)


def stream_stream(method: StreamStream[RequestT], request: type[RequestT]) -> Method:
    """A method with a stream of requests and a stream of responses."""
    return Method(method, request, request_streaming=True, response_streaming=True)


class ServiceTable:
    """The services of a server.

    Attributes:
        names: full service names, in the order in which they were added.
        methods: methods by path, `/service/method`.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.methods: dict[str, Method] = {}

    def add(self, name: str, methods: Mapping[str, Method]) -> None:
        """Add a service under its full name."""
        self.names.append(name)
        self.methods |= {f"/{name}/{key}": method for key, method in methods.items()}


def frame(message: Message) -> bytes:
    """A length-prefixed message of gRPC: compression flag 0, length in 4 bytes, message bytes."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4) + data
