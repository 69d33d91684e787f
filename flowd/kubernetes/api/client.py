"""HTTP client of the API server: streamed GETs, credential reload, errors in one line."""

import asyncio
import logging
import os
import random
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import httpx2
from lightkube.core.exceptions import ConfigError

from flowd import __version__
from flowd.errors import ConnectError, UsageError
from flowd.kubernetes.api.decode import DECODE_ERRORS, STATUS_DECODER
from flowd.kubernetes.api.kubeconfig import ApiConnection
from flowd.kubernetes.api.limits import ApiLimits
from flowd.text import printable

log = logging.getLogger(__name__)
MAX_DOCUMENT = 8 << 20
UNAUTHORIZED, GONE = 401, 410
# TCP keepalive detects a vanished peer: 15 s of silence, then 4 probes, 5 s apart.
SOCKET_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 35_000),
)


class ApiError(ConnectError):
    """The API server is unreachable or refused the request.

    Attributes:
        status: HTTP status, or 0 without an answer.
        retry_after: Retry-After of the server in seconds.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(eq=False)
class _Session:
    """An HTTP client, and the number of its open streams.

    Attributes:
        extensions: request extensions; `sni_hostname` where the certificate has another name.
    """

    client: httpx2.AsyncClient
    url: str
    extensions: dict[str, str]
    streams: int = 0


class ApiClient:
    """HTTP client of one API server; reloads its configuration after an authentication failure.

    Raises:
        UsageError: the configuration cannot be read or is incomplete.
    """

    def __init__(self, connect: Callable[[], ApiConnection], limits: ApiLimits) -> None:
        self._connect = connect
        self._limits = limits
        self._retired: set[_Session] = set()
        self._session = self._open()

    @property
    def url(self) -> str:
        """The server's URL, printable."""
        return printable(self._session.url, 200)

    async def get(self, path: str) -> bytes:
        """GET a document of at most MAX_DOCUMENT bytes.

        Raises:
            ApiError: no answer, a status other than 200, or a larger document.
        """
        data = bytearray()
        async with self.stream(path, {}, self._limits.read) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > MAX_DOCUMENT:
                    raise ApiError(f"{path}: answer over {MAX_DOCUMENT >> 20} MiB")
        return bytes(data)

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], read: float, accept: str = "application/json"
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """GET a body in chunks.

        Args:
            read: read timeout between chunks in seconds.
            accept: Accept header.

        Raises:
            ApiError: no answer, a status other than 200, or a lost connection.
        """
        session = self._session
        session.streams += 1
        try:
            response = await self._send(session, path, params, read, accept)
            try:
                if response.status_code != 200:
                    raise await self._refusal(session, response)
                yield response.aiter_bytes()
            finally:
                await response.aclose()
        except httpx2.HTTPError as error:
            raise self._failure(session, error) from None
        finally:
            session.streams -= 1
            if session in self._retired and not session.streams:
                await session.client.aclose()
                self._retired.discard(session)

    async def _send(
        self, session: _Session, path: str, params: Mapping[str, str], read: float, accept: str
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(self._limits.connect, read=read)
        request = session.client.build_request(
            "GET",
            path,
            params=params,
            headers={"Accept": accept},
            timeout=timeout,
            extensions=session.extensions,
        )
        try:
            return await session.client.send(request, stream=True)
        except httpx2.HTTPError:
            raise
        except (ConfigError, OSError, ValueError, KeyError, TypeError) as error:
            # A missing token file, or a credential plugin that fails or answers invalid data
            raise self._failure(session, error) from None

    def _failure(self, session: _Session, error: Exception) -> ApiError:
        if any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
            self._renew(session)
        return ApiError(_reason(error))

    async def close(self) -> None:
        """Close every connection; no request may be open."""
        for session in (self._session, *self._retired):
            await session.client.aclose()

    async def _refusal(self, session: _Session, response: httpx2.Response) -> ApiError:
        if response.status_code == UNAUTHORIZED:
            self._renew(session)
        data = bytearray()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > 1 << 16:
                break
        try:
            message = STATUS_DECODER.decode(bytes(data)).message
        except DECODE_ERRORS:
            message = ""
        text = printable(message, 200) or response.reason_phrase
        wait = response.headers.get("retry-after", "")
        seconds = float(wait) if wait.isdecimal() else 0.0
        longest = self._limits.retry_after
        status = response.status_code
        return ApiError(f"{status} {text}", status, min(seconds, longest))

    def _open(self) -> _Session:
        connection = self._connect()
        client = httpx2.AsyncClient(
            base_url=connection.url,
            auth=connection.auth,
            headers={"User-Agent": f"flowd/{__version__}"},
            transport=httpx2.AsyncHTTPTransport(
                verify=connection.tls,
                trust_env=False,
                proxy=connection.proxy or None,
                socket_options=SOCKET_OPTIONS,
                limits=httpx2.Limits(max_connections=100, keepalive_expiry=30.0),
            ),
            trust_env=False,
        )
        names = {"sni_hostname": connection.server_name} if connection.server_name else {}
        return _Session(client, connection.url, names)

    def _renew(self, session: _Session) -> None:
        """Reload the configuration: certificates and tokens rotate while the agent runs."""
        if session is not self._session:
            return
        try:
            fresh = self._open()
        except UsageError as error:
            log.warning("kubernetes: %s", error.message)
            return
        self._session = fresh
        self._retired.add(session)


async def backoff_sleep(error: ApiError, failures: int, limits: ApiLimits) -> None:
    """Sleep before a retry: exponential backoff with full jitter, plus the server's Retry-After."""
    first, longest = limits.backoff
    bound = min(longest, first * 2 ** min(failures - 1, 30))
    await asyncio.sleep(error.retry_after + random.uniform(0, bound))


def _causes(error: BaseException) -> list[BaseException]:
    """The error and its causes, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(found) < 16:
        found.append(current)
        group = cast("BaseExceptionGroup[BaseException] | None", _group(current))
        current = group.exceptions[0] if group else current.__cause__ or current.__context__
    return found


def _group(error: BaseException) -> object:
    return error if isinstance(error, BaseExceptionGroup) else None  # pyright: ignore[reportUnknownVariableType]


def _reason(error: BaseException) -> str:
    """Describe a failed request for people, on one line."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the API server's certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return printable(f"TLS: {(cause.reason or str(cause)).replace('_', ' ').lower()}", 200)
    if isinstance(error, httpx2.ConnectTimeout):
        return "no answer to the connection"
    if isinstance(error, httpx2.TimeoutException):
        return "connected, but no answer"
    if isinstance(error, httpx2.RemoteProtocolError):
        return "the connection was cut"
    if isinstance(error, ConfigError):
        return printable(str(error), 200)
    texts = [
        os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
        for cause in _causes(error)
        if isinstance(cause, OSError) and cause.errno
    ]
    if texts:
        return printable(texts[-1], 200).lower()
    return printable(str(error).partition("\n")[0] or type(error).__name__, 200)
