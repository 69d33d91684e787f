"""H2Server with slow, broken, lost or malicious clients; other clients are served."""

import asyncio
from contextlib import suppress
from typing import cast

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame

from flowd_exporters.h2grpc.connection import MAX_RECEIVED, MAX_STREAMS, ConnectionPolicy
from flowd_exporters.h2grpc.service import frame
from tests.support.h2_service import PATH, RawClient, Served, raw, serving
from tests.support.hubble_server import eventually

ENDLESS = frame(Int64Value())


async def lives(served: Served) -> None:
    """Assert that another client is served."""
    answer = await served.unary("Echo")(BytesValue(value=b"alive"), timeout=10)
    assert answer.value == b"alive"


async def status(client: RawClient) -> dict[str, str]:
    """Headers and trailers of one call together."""
    found: dict[str, str] = {}
    while "grpc-status" not in found:
        events = await client.events()
        assert events
        for event in events:
            if isinstance(event, ResponseReceived | TrailersReceived):
                found |= dict(cast("list[tuple[str, str]]", event.headers))
    return found


REFUSED: list[tuple[str, dict[str, str], bytes, str, str]] = [
    ("Nope", {}, ENDLESS, "200", "12"),
    ("Echo", {"content_type": "text/html"}, ENDLESS, "415", "13"),
    ("Echo", {"content_type": "application/grpc-web"}, ENDLESS, "415", "13"),
    ("Echo", {"method": "GET"}, ENDLESS, "405", "13"),
    ("Echo", {"grpc_timeout": "soon"}, ENDLESS, "200", "13"),
    ("Echo", {"grpc_timeout": "123456789S"}, ENDLESS, "200", "13"),
    ("Wait", {"grpc_timeout": "1m"}, ENDLESS, "200", "4"),
    ("Echo", {"grpc_encoding": "snappy"}, ENDLESS, "200", "12"),
    ("Echo", {"grpc_encoding": "gzip"}, b"\x01\x00\x00\x00\x02xx", "200", "13"),
    ("Echo", {}, b"\x01\x00\x00\x00\x02xx", "200", "13"),
    ("Echo", {}, b"\x00\xff\xff\xff\xff", "200", "8"),
    ("Echo", {}, ENDLESS[:-1] + b"\x00" * 3, "200", "13"),
    ("Echo", {}, ENDLESS + ENDLESS, "200", "13"),
    ("Echo", {}, b"", "200", "13"),
    ("Chat", {}, b"\x00\x00\x01\x00\x00", "200", "8"),
]


@pytest.mark.parametrize(("path", "headers", "body", "http", "grpc"), REFUSED)
async def test_refusals(
    path: str, headers: dict[str, str], body: bytes, http: str, grpc: str
) -> None:
    async with serving() as served, raw(served.address) as client:
        client.call(1, body, path, **headers)
        found = await status(client)
        assert (found[":status"], found["grpc-status"]) == (http, grpc)
        assert found["x-server"] == "flowd"
        assert found["content-type"] == "application/grpc"
        await lives(served)


async def test_headers_come_before_the_request_is_complete() -> None:
    async with serving() as served, raw(served.address) as client:
        client.call(1, None, "Count")
        response = await client.until(ResponseReceived)
    assert ("x-server", "flowd") in response.headers


async def test_windows_and_frame_sizes_are_kept() -> None:
    async with serving() as served, raw(served.address) as client:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
        await client.until(RemoteSettingsChanged)
        client.call(1, frame(Int64Value(value=64)), "Pour")
        got = 0
        while got < 1000:
            for event in await client.events():
                got += len(event.data or b"") if isinstance(event, DataReceived) else 0
        client.http2.ping(b"no more.")
        await client.until(PingAckReceived)  # no data came before it: h2 would have raised an error
        assert (got, served.methods.stopped) == (1000, 0)
        client.http2.update_settings({SettingCodes.MAX_FRAME_SIZE: 1 << 15})
        await client.until(SettingsAcknowledged)
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        client.http2.increment_flow_control_window(1 << 20)
        sizes: list[int] = []
        ended = False
        while not ended:
            for event in await client.events():
                if isinstance(event, DataReceived):
                    sizes.append(len(event.data or b""))
                ended |= isinstance(event, StreamEnded)
        assert got + sum(sizes) == len(frame(BytesValue(value=bytes(1013)))) * 64
        assert max(sizes) <= 1 << 15


async def test_a_client_that_never_reads_stops_its_own_stream_only() -> None:
    async with serving() as served, raw(served.address) as client:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        client.http2.increment_flow_control_window(2**31 - 1 - 65535)
        client.call(1, ENDLESS, "Pour")
        await client.flush()
        made = -1
        while made != served.methods.made:
            made = served.methods.made
            await asyncio.sleep(0.1)
        assert 0 < made < 64 << 10  # KiB: capacity of the sockets and the buffer
        await lives(served)
        client.abort()
        await eventually(lambda: served.methods.stopped == 1)


async def test_a_client_that_asks_and_never_reads_is_not_read_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowd_exporters.h2grpc.connection._FULL_BUFFER", 100_000)
    async with serving() as served, raw(served.address) as client:
        client.http2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1})
        client.http2.increment_flow_control_window(2**31 - 1 - 65535)
        client.call(1, ENDLESS, "Pour")
        await client.flush()
        made = -1
        while made != served.methods.made:
            made = served.methods.made
            await asyncio.sleep(0.1)
        client.http2.reset_stream(1)
        await client.flush()
        await asyncio.sleep(0.1)
        assert served.methods.stopped == 0
        while not served.methods.stopped:
            assert await client.events() is not None


async def test_streams_beyond_the_bound() -> None:
    async with serving() as served, raw(served.address) as client:
        settings = await client.until(RemoteSettingsChanged)
        changed = settings.changed_settings[SettingCodes.MAX_CONCURRENT_STREAMS]
        assert changed.new_value == MAX_STREAMS
        for number in range(MAX_STREAMS):
            client.call(2 * number + 1, frame(BytesValue()), "Wait")
        await client.flush()
        await lives(served)
        beyond = HeadersFrame(2 * MAX_STREAMS + 1, flags=["END_HEADERS"])
        headers = [(":method", "POST"), (":scheme", "http"), (":path", PATH + "Wait")]
        beyond.data = client.http2.encoder.encode(headers)
        client.write(beyond.serialize())
        with pytest.raises(ConnectionError):
            await client.until(StreamEnded)
        await eventually(lambda: served.methods.stopped == MAX_STREAMS)
        await lives(served)


async def test_a_thousand_streams_of_an_honest_client_take_turns() -> None:
    async with serving() as served:
        calls = [served.unary("Wait")(BytesValue(), timeout=60) for _ in range(1000)]
        await served.methods.began.wait()
        await asyncio.sleep(0.3)
        (connection,) = served.server.connections
        assert len(connection.tasks) == MAX_STREAMS
        for call in calls:
            call.cancel()
        await lives(served)
        await eventually(lambda: not connection.tasks)


async def test_rapid_resets_end_the_connection() -> None:
    async with serving() as served, raw(served.address) as client:
        for number in range(2000):
            stream = 2 * number + 1
            client.call(stream, None, "Wait")
            client.http2.reset_stream(stream)
        await client.flush()
        found: list[object] = []
        while events := await client.events():
            found += [e.error_code for e in events if isinstance(e, ConnectionTerminated)]
        assert found in (
            [],
            [ErrorCodes.ENHANCE_YOUR_CALM],
        )  # the close may arrive before the GOAWAY
        await eventually(lambda: not served.server.connections)
        await lives(served)


async def test_resets_now_and_then_are_fine() -> None:
    policy = ConnectionPolicy(frames=10, frames_per_second=1000)
    async with serving(patience=policy) as served, raw(served.address) as client:
        for number in range(50):
            client.call(2 * number + 1, ENDLESS, "Wait")
            await client.until(ResponseReceived)
            client.http2.reset_stream(2 * number + 1)
            await client.flush()
            await asyncio.sleep(0.005)
        client.call(101, frame(BytesValue(value=b"x")), "Echo")
        assert (await status(client))["grpc-status"] == "0"


async def test_a_header_bomb() -> None:
    async with serving() as served, raw(served.address) as client:
        for _ in range(30):
            client.http2.encoder.header_table_size = 4096
        client.call(1, None, "Echo", **{f"x-{n}": "v" * 4000 for n in range(40)})
        with pytest.raises(ConnectionError):
            await status_or_closed(client)
        await lives(served)


async def status_or_closed(client: RawClient) -> None:
    while events := await client.events():
        assert not any(isinstance(event, ResponseReceived) for event in events)
    raise ConnectionError


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(5000), b"\xff" * 99])
async def test_other_protocols_are_sent_away(data: bytes) -> None:
    async with serving() as served:
        host, _, port = served.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        async with asyncio.timeout(10):
            assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()
        await lives(served)


async def test_a_client_that_says_nothing_is_dropped() -> None:
    async with serving(patience=ConnectionPolicy(keepalive=0.05)) as served:
        host, _, port = served.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await reader.read(100):
                    pass
        writer.close()


async def test_requests_of_a_connection_are_bounded_together() -> None:
    async with serving() as served, raw(served.address) as client:
        await client.until(RemoteSettingsChanged)
        body = b"\x00\x00\x30\x00\x00" + bytes(3 << 20)  # never complete
        statuses: list[str] = []
        for number in range(MAX_RECEIVED // (3 << 20) + 1):
            stream, sent = 2 * number + 1, 0
            client.call(stream, None, "Echo")
            while sent < len(body) and not statuses:
                room = min(client.http2.local_flow_control_window(stream), 16384)
                if room:
                    client.http2.send_data(stream, body[sent : sent + room])
                    sent += room
                    continue
                for event in await client.events():
                    if isinstance(event, TrailersReceived):
                        trailers = dict(cast("list[tuple[str, str]]", event.headers))
                        statuses.append(trailers["grpc-status"])
        if not statuses:
            statuses.append((await status(client))["grpc-status"])
        assert statuses == ["8"]
        await lives(served)


async def test_calls_go_on_after_a_client_s_goaway() -> None:
    async with serving() as served, raw(served.address) as client:
        client.call(1, None, "Echo")
        await client.until(ResponseReceived)
        client.write(GoAwayFrame(0, last_stream_id=0, error_code=0).serialize())
        client.http2.send_data(1, frame(BytesValue(value=b"late")), end_stream=True)
        data = await client.until(DataReceived)
        assert BytesValue.FromString(data.data[5:]).value == b"late"
        with pytest.raises(ConnectionError):
            await client.until(WindowUpdated)  # the server closes an idle connection


async def test_a_stopping_server_tells_the_last_stream_and_refuses_new_ones() -> None:
    async with serving() as served, raw(served.address) as client:
        client.call(1, None, "Echo")
        await client.until(ResponseReceived)
        stopping = asyncio.create_task(served.server.stop(10))
        headers = [(":method", "POST"), (":scheme", "http"), (":path", PATH + "Echo")]
        await asyncio.sleep(0.05)
        late = HeadersFrame(3, flags=["END_HEADERS"])
        late.data = client.http2.encoder.encode(headers)
        client.write(late.serialize())
        client.write(RstStreamFrame(1, error_code=8).serialize())
        goaway = await client.until(ConnectionTerminated)
        assert (goaway.error_code, goaway.last_stream_id) == (ErrorCodes.NO_ERROR, 1)
        await asyncio.wait_for(stopping, 10)


async def test_a_killed_client_stops_its_calls() -> None:
    async with serving() as served, raw(served.address) as client:
        for stream in (1, 3, 5):
            client.call(stream, ENDLESS, "Pour")
        await client.until(DataReceived)
        client.abort()
        await eventually(lambda: served.methods.stopped == 3)
        await lives(served)


async def test_a_reset_in_mid_stream() -> None:
    async with serving() as served, raw(served.address) as client:
        client.call(1, ENDLESS, "Pour", grpc_timeout="200m")
        event = await client.until(StreamReset)
        assert event.error_code == ErrorCodes.CANCEL  # in the middle of a message
        await lives(served)
