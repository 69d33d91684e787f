"""Certificates: TLS and mutual TLS, with files that change while the server runs."""

import asyncio
import logging
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value

from flowd.errors import UsageError
from flowd_exporters.h2grpc.tls import Certificates, tls_certificates
from tests.support.h2_service import SECONDS, Served, serving
from tests.support.hubble_server import eventually
from tests.support.refused_tls import MAY_WARN, collected

__all__ = ["collected"]
pytestmark = MAY_WARN


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority with its files, and those of its certificates, in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.cert, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        subject = ("-subj", f"/CN={name}", "-days", "2", "-nodes", "-keyout", self.key)
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        openssl("req", "-x509", *curve, *subject, "-out", self.cert)

    def sign(self, name: str) -> tuple[Path, Path]:
        """Make a certificate for localhost and its key."""
        cert, key, request = (self.folder / f"{name}.{end}" for end in ("crt", "key", "csr"))
        names = self.folder / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", *curve, "-keyout", key, "-subj", f"/CN={name}", "-out", request)
        signer = ("-CA", self.cert, "-CAkey", self.key, "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", request, *signer, "-extfile", names, "-out", cert)
        return cert, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls files"), "first")


def credentials(
    authority: Authority, client: tuple[Path, Path] | None = None
) -> grpc.ChannelCredentials:
    cert, key = client if client else (None, None)
    return grpc.ssl_channel_credentials(
        authority.cert.read_bytes(),
        key.read_bytes() if key else None,
        cert.read_bytes() if cert else None,
    )


async def echo(served: Served, text: bytes = b"x") -> bytes:
    return (await served.unary("Echo")(BytesValue(value=text), timeout=SECONDS)).value


async def test_tls(authority: Authority) -> None:
    certificates = Certificates(*map(str, authority.sign("server")))
    async with serving(certificates=certificates, credentials=credentials(authority)) as served:
        assert await echo(served, bytes(200_000)) == bytes(200_000)
        call = served.stream("Count")(Int64Value(value=3000), timeout=SECONDS)
        assert [one.value async for one in call] == list(range(3000))


async def test_plain_text_and_old_tls_are_refused(authority: Authority) -> None:
    certificates = Certificates(*map(str, authority.sign("server")))
    async with serving(certificates=certificates, credentials=credentials(authority)) as served:
        channel: Any = grpc.aio.insecure_channel(served.address)
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary("/test.Test/Echo")(b"", timeout=2)
        await channel.close(None)
        for version, protocols in ((ssl.TLSVersion.TLSv1_2, ["h2"]), (None, ["http/1.1"])):
            context = ssl.create_default_context(cafile=str(authority.cert))
            context.set_alpn_protocols(protocols)
            if version:
                context.maximum_version = version
            assert await asyncio.to_thread(refused, served.address, context)
        assert await echo(served) == b"x"


def refused(address: str, context: ssl.SSLContext) -> bool:
    """Whether a connection ends without a byte of HTTP/2."""
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            return wrapped.recv(100) == b""
    except OSError as error:
        return not isinstance(error, TimeoutError)


async def test_mutual_tls(authority: Authority, tmp_path: Path) -> None:
    server, client = authority.sign("server"), authority.sign("client")
    certificates = Certificates(str(server[0]), str(server[1]), [str(authority.cert)])
    stranger = Authority(tmp_path, "stranger").sign("client")
    known = credentials(authority, client)
    async with serving(certificates=certificates, credentials=known) as served:
        assert await echo(served) == b"x"
        for other in (credentials(authority), credentials(authority, stranger)):
            channel: Any = grpc.aio.secure_channel(served.address, other)
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/test.Test/Echo")(b"", timeout=2)
            await channel.close(None)


async def call_fresh(address: str, how: grpc.ChannelCredentials) -> bool:
    """Whether a new connection is served."""
    options: Any = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, how, options) as channel:
        opened: Any = channel
        try:
            await opened.unary_unary("/test.Test/Echo")(b"", timeout=5)
        except grpc.aio.AioRpcError:
            return False
        return True


async def test_rotation_under_load(authority: Authority, tmp_path: Path) -> None:
    second = Authority(tmp_path, "second")
    used = [tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt")]

    def rotate(by: Authority) -> None:
        for target, source in zip(used, (*by.sign("server"), by.cert), strict=True):
            fresh = tmp_path / "fresh"
            fresh.write_bytes(source.read_bytes())
            os.replace(fresh, target)

    rotate(authority)
    old = credentials(authority, authority.sign("client"))
    new = credentials(second, second.sign("client"))
    certificates = Certificates(str(used[0]), str(used[1]), [str(used[2])])
    async with serving(certificates=certificates, credentials=old) as served:
        poured = served.stream("Pour", BytesValue)(Int64Value())
        counted = 0

        async def read() -> None:
            nonlocal counted
            async for _ in poured:
                counted += 1

        reading = asyncio.create_task(read())
        assert await call_fresh(served.address, old)
        assert not await call_fresh(served.address, new)
        rotate(second)
        assert await call_fresh(served.address, new)
        assert not await call_fresh(served.address, old)
        before = counted
        assert await echo(served) == b"x"  # the old connection keeps working
        await eventually(lambda: counted > before)
        poured.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_broken_files_keep_the_last_good_ones(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = authority.sign("rotated")
    good = cert.read_bytes(), key.read_bytes()
    certificates = Certificates(str(cert), str(key))
    async with serving(certificates=certificates, credentials=credentials(authority)) as served:
        with caplog.at_level(logging.WARNING):
            for broken in (b"", b"not PEM", authority.cert.read_bytes()):
                cert.write_bytes(broken)
                assert await call_fresh(served.address, credentials(authority))
            cert.unlink()
            assert await call_fresh(served.address, credentials(authority))
        assert "cannot be used" in caplog.text
        cert.write_bytes(good[0])
        assert await call_fresh(served.address, credentials(authority))


def test_settings_that_do_not_go_together(authority: Authority, tmp_path: Path) -> None:
    cert, key = map(str, authority.sign("server"))
    assert tls_certificates("", "", ()) is None
    assert tls_certificates(cert, key, ()) is not None
    missing = str(tmp_path / "none")
    wrong = [("", key, ()), (cert, "", ()), ("", "", (cert,)), (cert, str(authority.key), ())]
    for case in (*wrong, (missing, key, ()), (cert, key, (missing,)), (cert, key, (key,))):
        with pytest.raises(UsageError) as caught:
            tls_certificates(*case)
        assert "\n" not in caught.value.message
