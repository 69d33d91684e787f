"""H2Server with grpcio's client: calls, deadlines, cancellation, flow control, shutdown."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value

from flowd_exporters.h2grpc.connection import ConnectionPolicy
from flowd_exporters.h2grpc.messages import MAX_MESSAGE
from tests.support.h2_service import PATH, SECONDS, Served, serving
from tests.support.hubble_server import END, eventually


def value(data: bytes | str = b"") -> BytesValue:
    return BytesValue(value=data.encode() if isinstance(data, str) else data)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error: Any = caught.value
    return error.code(), error.details()


@pytest.mark.parametrize("size", [0, 1, 70_000, MAX_MESSAGE - 100])
async def test_unary_of_any_size(size: int) -> None:
    options = (("grpc.max_receive_message_length", -1),)
    async with serving(options=options) as served:
        call = served.unary("Echo")(value(bytes(size)), timeout=SECONDS)
        assert len((await call).value) == size
        assert dict(await call.initial_metadata())["x-server"] == "flowd"


async def test_a_message_over_the_bound() -> None:
    async with serving() as served:
        code, text = await refusal(served.unary("Echo")(value(bytes(MAX_MESSAGE + 1))))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(MAX_MESSAGE) in text
        assert (await served.unary("Echo")(value("next"))).value == b"next"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests(compression: grpc.Compression) -> None:
    async with serving() as served:
        sent = b"abc" * 10_000
        answer = await served.unary("Echo")(value(sent), compression=compression)
        assert answer.value == sent
        call = served.unary("Echo")(value(bytes(MAX_MESSAGE + 9)), compression=compression)
        assert (await refusal(call))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_streams_in_order() -> None:
    async with serving() as served:
        answers = [one.value async for one in served.stream("Count")(Int64Value(value=5000))]
        poured = served.stream("Pour", BytesValue)(Int64Value(value=4096), timeout=SECONDS)
        sizes = [len(one.value) async for one in poured]
    assert answers == list(range(5000))
    assert sizes == [1013] * 4096


async def test_both_ways() -> None:
    async with serving() as served:
        call = served.chat()(timeout=SECONDS)
        for text in ("one", "two", "three"):
            await call.write(value(text))
            assert (await call.read()).value == text.encode()
        await call.done_writing()
        assert await call.read() is END
        assert await call.code() is grpc.StatusCode.OK


async def test_many_calls_at_a_time() -> None:
    async with serving() as served:
        calls = [served.unary("Echo")(value(str(n)), timeout=SECONDS) for n in range(1000)]
        assert [(await call).value for call in calls] == [b"%d" % n for n in range(1000)]


@pytest.mark.parametrize("text", ["plain", "100 % of\nthé \U0001f980", "a" * 5000, " x "])
async def test_status_and_message(text: str) -> None:
    async with serving() as served:
        found = await refusal(served.unary("Fail")(value(text)))
    assert found == (grpc.StatusCode.FAILED_PRECONDITION, text)


async def test_a_method_that_breaks_tells_no_more_than_that() -> None:
    async with serving() as served:
        code, text = await refusal(served.unary("Fail")(value()))
    assert code is grpc.StatusCode.UNKNOWN
    assert "secret" not in text


async def test_an_unknown_method() -> None:
    async with serving() as served:
        code, text = await refusal(served.unary("Nope")(value()))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert PATH + "Nope" in text


async def test_a_request_that_is_no_message() -> None:
    async with serving() as served:
        call = served.channel.unary_unary(PATH + "Echo", None, None)
        assert (await refusal(call(b"\xff\xff")))[0] is grpc.StatusCode.INTERNAL


async def test_a_deadline_stops_the_method() -> None:
    async with serving() as served:
        code, _ = await refusal(served.unary("Wait")(value(), timeout=0.2))
        assert code is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: served.methods.stopped == 1)


async def test_a_cancelled_call_stops_the_method() -> None:
    async with serving() as served:
        waiting = served.unary("Wait")(value())
        pouring = served.stream("Pour", BytesValue)(Int64Value())
        await pouring.read()
        await served.methods.began.wait()
        waiting.cancel()
        pouring.cancel()
        await eventually(lambda: served.methods.stopped == 2)
        assert (await served.unary("Echo")(value("next"))).value == b"next"


async def test_large_metadata() -> None:
    options = (("grpc.max_metadata_size", 1 << 16),)
    async with serving(options=options) as served:
        metadata = (("x-large", "v" * 30_000), ("x-bytes-bin", bytes(range(256))))
        assert (await served.unary("Echo")(value("x"), metadata=metadata)).value == b"x"


async def test_headers_and_trailers_of_several_frames() -> None:
    options = (("grpc.max_metadata_size", 1 << 17), ("grpc.absolute_max_metadata_size", 1 << 17))
    async with serving(options=options) as served:
        metadata = tuple((f"x-{n}", "v" * 9000) for n in range(6))
        assert (await served.unary("Echo")(value("x"), metadata=metadata)).value == b"x"
        code, text = await refusal(served.unary("Fail")(value("y" * 40_000)))
    assert (code, len(text)) == (grpc.StatusCode.FAILED_PRECONDITION, 40_000)


async def test_small_windows_of_a_client() -> None:
    options = (("grpc.http2.lookahead_bytes", 1000), ("grpc.http2.bdp_probe", 0))
    async with serving(options=options) as served:
        poured = served.stream("Pour", BytesValue)(Int64Value(value=512), timeout=SECONDS)
        assert [len(one.value) async for one in poured] == [1013] * 512
        assert len((await served.unary("Echo")(value(bytes(50_000)))).value) == 50_000


async def test_a_client_s_keepalive_pings() -> None:
    options = (
        ("grpc.keepalive_time_ms", 50),
        ("grpc.keepalive_timeout_ms", 5000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    async with serving(options=options) as served:
        waiting = served.unary("Wait")(value())
        await asyncio.sleep(1)
        assert not waiting.done()
        waiting.cancel()


async def test_a_client_that_answers_the_server_s_pings_stays() -> None:
    async with serving(patience=ConnectionPolicy(keepalive=0.05)) as served:
        waiting = served.unary("Wait")(value())
        await asyncio.sleep(0.5)
        assert not waiting.done()
        waiting.cancel()


async def test_stopping_lets_calls_end_and_takes_no_more() -> None:
    async with serving() as served:
        call = served.chat()(timeout=SECONDS)
        await call.write(value("before"))
        assert (await call.read()).value == b"before"
        stopping = asyncio.create_task(served.server.stop(SECONDS))
        await asyncio.sleep(0.05)
        await call.write(value("after"))
        assert (await call.read()).value == b"after"
        code, _ = await refusal(served.unary("Echo")(value()))
        assert code is grpc.StatusCode.UNAVAILABLE
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await asyncio.wait_for(stopping, SECONDS)


async def test_stopping_ends_what_does_not_end() -> None:
    async with serving() as served:
        calls = [served.unary("Wait")(value()), served.stream("Pour")(Int64Value())]
        await served.methods.began.wait()
        await eventually(lambda: served.methods.made > 0)
        await asyncio.wait_for(served.server.stop(0.1), SECONDS)
        assert served.methods.stopped == 2
        assert await calls[0].code() is grpc.StatusCode.UNAVAILABLE
        assert await calls[1].code() is not grpc.StatusCode.OK


async def test_a_hundred_streams_get_everything() -> None:
    async def total(served: Served) -> int:
        call = served.stream("Count")(Int64Value(value=500), timeout=SECONDS)
        return sum([one.value async for one in call])

    async with serving() as served:
        sums = await asyncio.gather(*(total(served) for _ in range(100)))
    assert sums == [sum(range(500))] * 100


async def test_a_unix_socket_is_gone_after_the_server(tmp_path: Path) -> None:
    path = tmp_path / "with space.sock"
    async with serving(f"unix://{path}") as served:
        assert served.address == f"unix://{path}"
        assert path.exists()
    assert not path.exists()
