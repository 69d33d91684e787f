"""Services as tables of methods, which no transport shows in."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

RequestT = TypeVar("RequestT", bound=Message)


class Context(Protocol):
    """What a method may do to its call."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        """End the call with a status."""
        ...


Unary: TypeAlias = Callable[[RequestT, Context], Awaitable[Message]]
Stream: TypeAlias = Callable[[RequestT, Context], AsyncIterator[Message | bytes]]
Chat: TypeAlias = Callable[[AsyncIterator[RequestT], Context], AsyncIterator[Message]]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service.

    Attributes:
        call: an `Unary`, `Stream` or `Chat`.
        request: the type of its requests.
        many_requests, many_answers: whether they are streamed.
    """

    call: Callable[[Any, Context], Any]
    request: type[Message]
    many_requests: bool = False
    many_answers: bool = False


def unary(method: Unary[RequestT], request: type[RequestT]) -> Method:
    """One request, one answer."""
    return Method(method, request)


def stream(method: Stream[RequestT], request: type[RequestT]) -> Method:
    """One request, any number of answers: messages, or bytes of messages made by `frame`."""
    return Method(method, request, many_answers=True)


def chat(method: Chat[RequestT], request: type[RequestT]) -> Method:
    """Any number of requests and of answers."""
    return Method(method, request, many_requests=True, many_answers=True)


class Services:
    """The services of a server.

    Attributes:
        names: full names of services, in the order in which they were added.
        methods: methods by path, `/service/method`.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.methods: dict[str, Method] = {}

    def add(self, name: str, methods: Mapping[str, Method]) -> None:
        """Add a service under its full name."""
        self.names.append(name)
        self.methods |= {f"/{name}/{method}": found for method, found in methods.items()}


def frame(message: Message) -> bytes:
    """A message as it goes over the wire: a byte for no compression, 4 of length, its bytes."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4) + data
