"""GetFlows: number, first, follow, since, until, filters, masks, losses, slow and lost readers."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from flowd.filter import RouteFilter
from flowd.model.losses import Place
from flowd.model.records.flow import FlowRows
from flowd_exporters.hubble.encode.field_mask import CLI_DEFAULT, MaskError, parse_mask
from flowd_exporters.hubble.encode.ring_row import RING_ROW
from flowd_exporters.hubble.ring import TEXT_BYTES
from tests.support.flow_samples import START, batch, sample_rows
from tests.support.hubble_server import END, SECONDS, Served, eventually, serve
from tests.support.raw_wire import Field, Raw, message, one, parse, text

GET_FLOWS = "/observer.Observer/GetFlows"
FOLLOW: Field = (3, 1)
ALL: Field = (1, 2**64 - 1)


def ports(first: int, count: int) -> FlowRows:
    """UDP flows with ascending destination ports, one a second; every third is dropped."""
    rows = sample_rows("dns")[np.zeros(count, int)]
    rows["dst_port"] = np.arange(first, first + count)
    rows["seq"] = rows["dst_port"]
    rows["time_ns"] = START + rows["dst_port"].astype(np.uint64) * np.uint64(10**9)
    rows["verdict"] = np.where(rows["dst_port"] % 3 == 0, 2, 1)
    return rows


def shown(answers: list[Raw]) -> list[int | bytes | None]:
    """Destination ports (field 1.6.2.2) of flows; None for other responses."""
    return [one(answer, 1, 6, 2, 2) for answer in answers]


def second(port: int) -> list[Field]:
    """google.protobuf.Timestamp of the flow with a destination port."""
    return [(1, START // 10**9 + port)]


DROPPED: Field = (6, [(5, 2)])
CASES: list[tuple[list[Field], list[int]]] = [
    ([], list(range(1, 31))),
    ([ALL], list(range(1, 31))),
    ([(1, 4)], [27, 28, 29, 30]),
    ([(1, 4), (9, 1)], [1, 2, 3, 4]),
    ([(1, 3), DROPPED], [24, 27, 30]),
    ([(1, 3), (9, 1), DROPPED], [3, 6, 9]),
    ([(1, 50), DROPPED], list(range(3, 31, 3))),
    ([(1, 2), (5, [(5, 2)])], [28, 29]),
    ([(7, second(26))], [26, 27, 28, 29, 30]),
    ([(7, second(26)), (1, 2)], [26, 27]),
    ([(7, second(5)), (8, second(8))], [5, 6, 7, 8]),
    ([(8, second(3))], [1, 2, 3]),
    ([(8, second(10)), (1, 2)], [9, 10]),
    ([(7, second(99))], []),
    ([(1, 3), (9, 1), (7, second(10))], [10, 11, 12]),
    ([(1, 2), (6, [(14, "7")]), (6, [(14, "9")]), (6, [(14, "11")])], [9, 11]),
]


@pytest.mark.parametrize(("fields", "expected"), CASES, ids=[str(case[0]) for case in CASES])
async def test_which_flows_are_sent(fields: list[Field], expected: list[int]) -> None:
    async with serve(ports(1, 30)) as served:
        assert shown(await served.flows(*fields)) == expected


async def test_counts_hold_over_chunks_and_the_wrap_of_the_ring() -> None:
    memory = 3000 * (RING_ROW.itemsize + TEXT_BYTES)
    async with serve(ports(0, 2900), memory=memory) as served:
        await served.put(ports(2900, 2000))
        assert shown(await served.flows((1, 2))) == [4898, 4899]
        assert shown(await served.flows((1, 2500)))[0] == 4900 - 2500
        assert shown(await served.flows((1, 2), (9, 1))) == [1900, 1901]
        assert len(await served.flows(ALL)) == 3000
        dropped = [port for port in range(1900, 4900) if port % 3 == 0]
        assert shown(await served.flows((1, 900), DROPPED)) == dropped[-900:]


async def read(call: Any, count: int) -> list[Raw]:
    async with asyncio.timeout(SECONDS):
        return [parse(await call.read()) for _ in range(count)]


async def test_follow_alone_sends_what_comes() -> None:
    async with serve(ports(1, 5)) as served:
        call = served.stream(GET_FLOWS, FOLLOW)
        await call.initial_metadata()
        await following(served)
        await served.put(ports(6, 2))
        assert shown(await read(call, 2)) == [6, 7]
        await served.put(ports(8, 1))
        assert shown(await read(call, 1)) == [8]


async def following(served: Served) -> None:
    """Wait until a follower waits for new flows, and so has a position."""
    await eventually(lambda: served.hubble.ring.waiting > 0)


async def test_follow_with_a_number_begins_in_the_past_and_does_not_end() -> None:
    async with serve(ports(1, 9)) as served:
        call = served.stream(GET_FLOWS, FOLLOW, (1, 2), DROPPED)
        assert shown(await read(call, 2)) == [6, 9]
        await served.put(ports(10, 6))
        assert shown(await read(call, 2)) == [12, 15]


async def test_follow_since_and_until() -> None:
    async with serve(ports(1, 5)) as served:
        call = served.stream(GET_FLOWS, FOLLOW, (7, second(4)), (8, second(7)))
        assert shown(await read(call, 2)) == [4, 5]
        await served.put(ports(6, 4))
        assert shown(await read(call, 2)) == [6, 7]
        assert await call.read() is END


async def test_followers_end_when_the_agent_does() -> None:
    async with serve() as served:
        call = served.stream(GET_FLOWS, FOLLOW)
        await following(served)
        served.queue.put(batch(ports(1, 1)))
        served.queue.close()
        assert shown(await read(call, 1)) == [1]
        assert await call.read() is END
        assert await call.code() == grpc.StatusCode.OK


REFUSED: list[tuple[list[Field], grpc.StatusCode, str]] = [
    ([(9, 1), FOLLOW], grpc.StatusCode.INVALID_ARGUMENT, "first"),
    ([(10, [(1, "source.nope")])], grpc.StatusCode.INVALID_ARGUMENT, "source.nope"),
    ([(10, [(1, "source.labels.x")])], grpc.StatusCode.INVALID_ARGUMENT, "source.labels.x"),
    ([(6, [(999, [(1, "_flow.x")])])], grpc.StatusCode.INVALID_ARGUMENT, "1:6: undefined field"),
    ([(5, [(999, [(1, "1")])])], grpc.StatusCode.INVALID_ARGUMENT, "not boolean"),
    ([(6, [(22, "(")])], grpc.StatusCode.UNKNOWN, "http_path"),
    ([(5, [(12, "zzz")])], grpc.StatusCode.UNKNOWN, "zzz"),
    ([(150000, [(1, "x/y.Z")])], grpc.StatusCode.UNKNOWN, "x/y.Z"),
]


@pytest.mark.parametrize(("fields", "status", "named"), REFUSED, ids=[c[2] for c in REFUSED])
async def test_refused_requests(fields: list[Field], status: grpc.StatusCode, named: str) -> None:
    async with serve(ports(1, 1)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.flows(*fields)
    error: Any = caught.value
    assert error.code() is status
    assert named in error.details()


async def test_cel_expressions_after_the_other_fields() -> None:
    expression = "_flow.l4.UDP.destination_port % 2u == 0u"
    async with serve(ports(1, 30)) as served:
        even: Field = (6, [(999, [(1, expression)]), (5, 2)])
        assert shown(await served.flows(even)) == [6, 12, 18, 24, 30]
        assert shown(await served.flows(even, (1, 2))) == [24, 30]


async def test_expressions_that_take_too_long_end_their_own_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowd.filter.cost.MAX_BATCH_SECONDS", -1.0)
    async with serve(ports(1, 30)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.flows((6, [(999, [(1, "true")])]))
        assert shown(await served.flows((1, 1))) == [30]
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_route_filters_of_the_request_s_extensions() -> None:
    packed = RouteFilter(route=("HTTPRoute/shop/web",)).pack()
    extensions: Field = (150000, [(1, packed.type_url), (2, packed.value)])
    async with serve(sample_rows()) as served:
        assert len(await served.flows(extensions)) == 2
        both = await served.summaries(extensions, (6, [(9, "503")]))
    assert [one.partition(" (")[0] for one in both] == ["HTTP/1.1 503 18ms"]


def masked(*paths: str) -> Field:
    return (10, [(1, path) for path in paths])


async def test_a_mask_is_obeyed_exactly() -> None:
    async with serve(sample_rows("syn")) as served:
        (answer,) = await served.flows(masked("verdict", "source.pod_name", "l4.TCP.flags"))
        (whole,) = await served.flows(masked("source.labels", "source"))
    assert set(answer) == {1}  # the mask has neither time nor node_name
    (flow,) = answer[1]
    expected = message((2, 1), (6, [(1, [(3, [(2, 1)])])]), (8, [(5, "web-7f")]))
    assert flow == expected
    (source,) = parse(whole[1][0])[8]  # type: ignore[arg-type]
    assert set(parse(source)) == {1, 2, 3, 4, 5, 6, 7}  # type: ignore[arg-type]


async def test_the_cli_s_own_mask_is_read_generously() -> None:
    async with serve(sample_rows("syn")) as served:
        (answer,) = await served.flows(masked(*CLI_DEFAULT))
        (exact,) = await served.flows(masked(*(CLI_DEFAULT - {"ethernet"})))
    flow, other = parse(answer[1][0]), parse(exact[1][0])  # type: ignore[arg-type]
    assert set(flow) - set(other) == {22}  # traffic_direction
    assert (1001 in answer, text(answer, 1000)) == (True, "node-a")
    assert 4 not in parse(flow[8][0])  # type: ignore[arg-type]  # labels


def test_masks_of_nothing_and_of_inner_messages() -> None:
    assert parse_mask([]) == {}
    assert parse_mask(["l7", "l7.http.url"]) == {"l7": {}}
    with pytest.raises(MaskError):
        parse_mask(["l7..http"])
    with pytest.raises(MaskError):
        parse_mask([""])


async def test_losses_before_the_ring_pass_every_filter() -> None:
    async with serve(ports(1, 2)) as served:
        call = served.stream(GET_FLOWS, FOLLOW, (6, [(14, "65000")]))
        await following(served)
        for queue, rows in (("connections", 2), ("dns", 2), ("drops", 1)):
            served.losses.add(Place.QUEUE, queue, rows)
        served.losses.add(Place.QUEUE, "otlp", 1000)
        served.losses.add(Place.KERNEL, "ring_full", 7)
        answers = await read(call, 2)
        lost = {one(answer, 3, 1): one(answer, 3, 2) for answer in answers}
        assert lost == {1: 7, 2: 5}
        assert all(text(answer, 1000) == "node-a" and 1001 in answer for answer in answers)
        await served.put(ports(3, 1))
        history = [shown(await served.flows(*fields)) for fields in HISTORIES]
    assert history == [[1, 2, None, None, 3], [2, None, None, 3], [1, 2], [None, None, 3]]


HISTORIES: list[list[Field]] = [[ALL], [(1, 2)], [(1, 2), (9, 1)], [(1, 1)]]


async def test_a_reader_that_was_overtaken_is_told_once_a_second() -> None:
    memory = 500 * (RING_ROW.itemsize + TEXT_BYTES)
    async with serve(memory=memory) as served:
        call = served.stream(GET_FLOWS, FOLLOW)
        await following(served)
        rows = ports(0, 500)
        rows["headers"] = [{"pad": "x" * 1000}] * 500
        rows["type"], rows["l7_type"] = 2, 1
        for _ in range(20):
            await served.put(rows)
        sent = lost = events = 0
        async with asyncio.timeout(SECONDS):
            while sent + lost < 10000:
                answer = parse(await call.read())
                count = one(answer, 3, 2)
                sent += 1 in answer
                events += 3 in answer
                lost += count if isinstance(count, int) else 0
        assert sent + lost == 10000
        assert lost > 0
        assert events < 10
        counted = served.losses.snapshot()[Place.STORE, "hubble_ring"]
        assert counted == lost


async def test_a_client_that_never_reads_holds_up_nobody() -> None:
    async with serve(ports(1, 3000)) as served:
        stuck = [served.stream(GET_FLOWS, FOLLOW, ALL) for _ in range(5)]
        for call in stuck:
            await call.initial_metadata()
        call = served.stream(GET_FLOWS, FOLLOW, (7, second(5000)))
        await served.put(ports(5000, 50))
        assert shown(await read(call, 50)) == list(range(5000, 5050))
        for one_stuck in stuck:
            one_stuck.cancel()


async def test_a_client_that_leaves_ends_its_stream() -> None:
    async with serve(ports(1, 3)) as served:
        call = served.stream(GET_FLOWS, FOLLOW, ALL)
        assert shown(await read(call, 3)) == [1, 2, 3]
        await following(served)
        call.cancel()
        await eventually(lambda: served.hubble.ring.waiting == 0)
        assert shown(await served.flows((1, 1))) == [3]
