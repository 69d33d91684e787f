"""The server of OTLP logs: exported records of Envoy become request rows."""

import asyncio
import gzip
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.capture.logs.otlp_entries import MAX_RECORDS, OtlpEntries
from flowd.capture.logs.otlp_server import SERVICE, OtlpLogsServer
from flowd.errors import UsageError
from flowd.model.address import unpack
from flowd.model.losses import Losses, Place
from flowd.model.records.request import RequestBatch
from flowd.model.status import State
from flowd.runtime.queue import Queue
from tests.support.attribution_truth import LOGS


def recorded() -> list[bytes]:
    data, at, frames = gzip.decompress((LOGS / "eg.otlp.bin.gz").read_bytes()), 0, list[bytes]()
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        frames.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return frames


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[OtlpLogsServer, Queue[RequestBatch], Losses, Any]]:
    losses = Losses()
    server = OtlpLogsServer("127.0.0.1:0", losses)
    await server.start()
    queue: Queue[RequestBatch] = Queue("requests", 100_000, losses)
    task = asyncio.create_task(server.run(queue))
    channel: Any = grpc.aio.insecure_channel(server.address)
    try:
        yield server, queue, losses, channel.unary_unary(f"/{SERVICE}/Export")
    finally:
        await channel.close()
        await server.close()
        await task


async def test_every_exported_entry_is_given_once() -> None:
    async with running() as (server, queue, losses, export):
        for frame in recorded():
            assert await export(frame) == b""
        rows = 0
        while rows < 220:
            batch = await queue.get()
            rows += len(batch)
            assert set(batch["log_name"]) <= {"eg/http-otel", "eg/tcp-otel"}
            assert set(batch["node_cluster"]) == {"infra/public"}
        assert rows == 220
        assert not losses.total()
        status = server.status()[0]
        assert (status.state, "entries 220" in status.detail) == (State.ON, True)


async def test_what_is_no_export_request_is_refused_and_counted() -> None:
    async with running() as (_, _, losses, export):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await export(b"\xff\xff\xff")
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert losses.snapshot()[Place.ACCESS_LOG, "malformed"] == 1
        assert await export(recorded()[0]) == b""


async def test_an_address_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match="cannot listen for OTLP logs"):
            await OtlpLogsServer(address, Losses()).start()
    with pytest.raises(UsageError, match="cannot listen for OTLP logs on nowhere"):
        await OtlpLogsServer("nowhere", Losses()).start()


def request(body: str = "", **attributes: str) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    record = made.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=5)
    record.body.string_value = body
    for key, value in attributes.items():
        record.attributes.add(key=key).value.string_value = value
    return made


def test_a_text_body_is_read_where_attributes_say_too_little() -> None:
    entries = OtlpEntries(Losses())
    entries.add(
        request(
            '[2026-11-21T08:14:22.698Z] "GET /p HTTP/1.1" 200 - 0 82 1 0 "-" "-" "-" "h" "10.0.0.1:80"',
            pod="x",
        )
    )
    (row,) = entries.take()
    assert (row["time_ns"], row["path"], row["status"]) == (5, "/p", 200)
    assert unpack(row["up_remote_addr"].tobytes()) == "10.0.0.1"


def test_records_that_are_no_entries_do_not_shift_the_others() -> None:
    losses = Losses()
    entries = OtlpEntries(losses)
    entries.add(request(pod="x"))
    entries.add(request(duration="1", response_code="204", response_flags="-"))
    (row,) = entries.take()
    assert (row["status"], row["time_ns"]) == (204, 5)
    assert losses.snapshot()[Place.ACCESS_LOG, "unknown_format"] == 1


def test_records_over_the_bound_are_counted() -> None:
    losses = Losses()
    entries = OtlpEntries(losses)
    made = request(duration="1", response_code="204", response_flags="-")
    records = made.resource_logs[0].scope_logs[0].log_records
    records.extend([records[0]] * (MAX_RECORDS + 2))
    entries.add(made)
    assert len(entries.take()) == MAX_RECORDS
    assert losses.snapshot()[Place.ACCESS_LOG, "too_many_entries"] == 3
