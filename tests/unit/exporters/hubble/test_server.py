"""The Hubble server over raw bytes: messages by field number, health, reflection, addresses."""

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from flowd.errors import UsageError
from flowd.wire.reflection import reflection_pb2 as reflection_v1
from flowd_exporters.api_server import ApiServer
from tests.support.flow_samples import SAMPLES, START, cluster, sample_rows
from tests.support.hubble_server import END, SECONDS, serve
from tests.support.raw_wire import message, one, parse, text

OBSERVER = "/observer.Observer/"
CHECK = "/grpc.health.v1.Health/Check"


async def test_a_flow_by_field_numbers() -> None:
    async with serve(sample_rows("response")) as served:
        (answer,) = await served.flows((1, 5))
    assert text(answer, 1000) == "node-a"
    assert one(answer, 1001, 1) == START // 10**9
    flow = parse(answer[1][0])  # type: ignore[arg-type]
    assert one(flow, 2) == 1  # FORWARDED
    assert (text(flow, 5, 1), text(flow, 5, 2), one(flow, 5, 3)) == ("10.1.0.2", "198.51.100.7", 1)
    assert (one(flow, 6, 1, 1), one(flow, 6, 1, 2)) == (8080, 61000)
    assert (one(flow, 8, 2), text(flow, 8, 3), text(flow, 8, 5)) == (401, "shop", "cart-0")
    assert (text(flow, 8, 6, 1), text(flow, 8, 6, 2)) == ("cart", "StatefulSet")
    assert (one(flow, 9, 2), text(flow, 9, 4)) == (2, "reserved:world")
    assert one(flow, 10) == 2  # L7
    assert (one(flow, 15, 1), one(flow, 15, 2)) == (2, 18_700_000)
    assert (one(flow, 15, 101, 1), text(flow, 15, 101, 2)) == (503, "GET")
    assert one(flow, 16) == 1  # reply
    assert one(flow, 19, 1) == 129
    assert text(flow, 20, 1) == "cart"
    assert one(flow, 22) == 2  # EGRESS
    assert one(flow, 26, 1) == 1  # is_reply
    assert text(flow, 30, 1, 1) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert text(flow, 41, 1) == "Flowd"
    assert text(flow, 100000).startswith("HTTP/1.1 503 18ms (GET ")
    assert text(flow, 150000, 1) == "type.googleapis.com/google.protobuf.Struct"


async def test_status_nodes_and_namespaces() -> None:
    async with serve(sample_rows()) as served:
        status = await served.one(OBSERVER + "ServerStatus")
        nodes = await served.one(OBSERVER + "GetNodes")
        namespaces = await served.one(OBSERVER + "GetNamespaces")
        capacity = served.hubble.ring.capacity
    flows = len(SAMPLES)
    assert [status[number] for number in (1, 2, 3)] == [[flows], [capacity], [flows]]
    assert set(status) == {1, 2, 3, 4, 8, 9}  # only a relay reports node counts
    assert text(status, 8).startswith("flowd v")
    (rate,) = status[9]
    assert isinstance(rate, bytes)
    assert struct.unpack("<d", rate)[0] > 0
    (node,) = nodes[1]
    assert isinstance(node, bytes)
    assert (text(parse(node), 1), text(parse(node), 3)) == ("node-a", "192.0.2.1:4244")
    assert one(parse(node), 4) == 1  # NODE_CONNECTED
    names = [parse(entry) for entry in namespaces[1] if isinstance(entry, bytes)]
    assert [(text(entry, 1), text(entry, 2)) for entry in names] == [
        ("default", "kube-system"),
        ("default", "shop"),
    ]


async def test_a_node_of_a_named_cluster_carries_its_name() -> None:
    async with serve(sample_rows("syn"), directory=cluster("prod")) as served:
        (answer,) = await served.flows()
        nodes = await served.one(OBSERVER + "GetNodes")
        found = await served.summaries((6, [(24, "prod/node-*")]))
    assert text(answer, 1000) == text(answer, 1, 11) == "prod/node-a"
    assert text(nodes, 1, 1) == "prod/node-a"
    assert found == ["TCP Flags: SYN"]


@pytest.mark.parametrize("service", ["", "hubble.server.Observer", "observer.Observer"])
async def test_health_under_the_three_names(service: str) -> None:
    async with serve() as served:
        assert await served.one(CHECK, (1, service)) == {1: [1]}


async def test_health_of_an_unknown_service() -> None:
    async with serve() as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.one(CHECK, (1, "nobody"))
        watch = served.stream("/grpc.health.v1.Health/Watch", (1, "nobody"))
        assert parse(await watch.read()) == {1: [3]}
    assert code(caught) == grpc.StatusCode.NOT_FOUND


async def test_a_health_watch_sees_the_server_stop() -> None:
    async with serve() as served:
        watch = served.stream("/grpc.health.v1.Health/Watch")
        assert parse(await watch.read()) == {1: [1]}
        stopping = asyncio.create_task(served.server.stop(SECONDS))
        assert parse(await watch.read()) == {1: [2]}
        await stopping


@pytest.mark.parametrize("method", [OBSERVER + "GetFlows", "/peer.Peer/Notify"])
async def test_the_api_version_comes_before_the_first_message(method: str) -> None:
    async with serve() as served:
        call = served.stream(method, *([(3, 1)] if "Flows" in method else []))
        metadata = await asyncio.wait_for(call.initial_metadata(), SECONDS)
        call.cancel()
    assert dict(metadata)["hubble-server-version"] == "1.19.4"


async def test_peers_are_this_node_for_as_long_as_it_runs() -> None:
    async with serve() as served:
        call = served.stream("/peer.Peer/Notify")
        answer = parse(await call.read())
        assert (text(answer, 1), text(answer, 2), answer[3]) == ("node-a", "192.0.2.1:4244", [1])
        assert 4 not in answer  # no TLS: plain text
        served.hubble.cluster.close()
        assert await call.read() is END


async def test_agent_events_tell_of_the_start() -> None:
    async with serve() as served:
        (answer,) = await served.all(OBSERVER + "GetAgentEvents", (1, 20))
        later = await served.all(OBSERVER + "GetAgentEvents", (7, [(1, 9_000_000_000)]))
    assert one(answer, 1, 1) == 2  # AGENT_STARTED
    assert one(answer, 1, 101, 1, 1) == one(answer, 1001, 1)
    assert later == []


async def test_debug_events_are_not_implemented() -> None:
    async with serve() as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.all(OBSERVER + "GetDebugEvents")
    assert code(caught) == grpc.StatusCode.UNIMPLEMENTED


REFLECTIONS: list[Any] = [reflection_pb2, reflection_v1]


@pytest.mark.parametrize("version", REFLECTIONS, ids=["v1alpha", "v1"])
async def test_reflection_lists_the_services_and_gives_their_files(version: Any) -> None:
    (service,) = version.DESCRIPTOR.services_by_name.values()
    request = version.ServerReflectionRequest
    async with serve() as served:
        channel: Any = served.channel
        call = channel.stream_stream(
            f"/{service.full_name}/ServerReflectionInfo",
            request.SerializeToString,
            version.ServerReflectionResponse.FromString,
        )(timeout=SECONDS)
        await call.write(request(list_services=""))
        services = [one.name for one in (await call.read()).list_services_response.service]
        found: dict[str, list[bytes]] = {}
        for name in services:
            await call.write(request(file_containing_symbol=name))
            answer = await call.read()
            found[name] = list(answer.file_descriptor_response.file_descriptor_proto)
        await call.write(request(file_containing_symbol="observer.Nothing"))
        unknown = (await call.read()).error_response.error_code
        await call.done_writing()
    assert set(services) == SERVICES
    assert all(found.values())
    assert any(b"observer/observer.proto" in one for one in found["observer.Observer"])
    assert unknown == grpc.StatusCode.NOT_FOUND.value[0]  # type: ignore[index]


SERVICES = {
    "observer.Observer",
    "peer.Peer",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


async def test_grpcio_s_reflection_client_learns_every_service() -> None:
    def learn(address: str) -> dict[str, list[str]]:
        with grpc.insecure_channel(address) as channel:
            database = cast("Any", ProtoReflectionDescriptorDatabase)(channel)
            pool = DescriptorPool(database)
            names = list(database.get_services())
            assert (
                pool.FindMessageTypeByName("flow.Flow").fields_by_name["Summary"].number == 100000
            )
            assert pool.FindFileByName("peer/peer.proto").package == "peer"
            return {name: list(pool.FindServiceByName(name).methods_by_name) for name in names}

    async with serve() as served:
        found = await asyncio.to_thread(learn, served.server.addresses[0])
    assert set(found) == SERVICES
    assert found["observer.Observer"] == [
        *("GetFlows", "GetAgentEvents", "GetDebugEvents"),
        *("GetNodes", "GetNamespaces", "ServerStatus"),
    ]
    assert found["peer.Peer"] == ["Notify"]


async def test_a_unix_socket_is_served_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "hubble.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serve(sample_rows("dns"), listen=lambda: f"unix://{path}") as served:
        assert served.server.addresses == [f"unix://{path}"]
        assert await served.summaries() == ["UDP"]
        with pytest.raises(UsageError, match="in use"):
            await ApiServer([f"unix://{path}"], []).start()
        assert await served.summaries() == ["UDP"]


async def test_a_port_in_use_is_refused_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    async with serve() as served:
        second = ApiServer(["127.0.0.1:0", served.server.addresses[0]], [])
        with pytest.raises(UsageError) as caught:
            await second.start()
    assert served.server.addresses[0] in caught.value.message
    assert "in use" in caught.value.message
    assert "\n" not in caught.value.message
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "address",
    [
        "4245",
        "host:port",
        "127.0.0.1:70000",
        "http://x:1",
        "unix://",
        "unix://no/path",
        "192.0.2.1:0",
    ],
)
async def test_addresses_that_cannot_be_listened_on(address: str) -> None:
    server = ApiServer([address], [])
    with pytest.raises(UsageError):
        await server.start()
    await server.stop()


async def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("precious")
    for listen in (path, tmp_path / "none" / "hubble.sock"):
        with pytest.raises(UsageError):
            await ApiServer([f"unix://{listen}"], []).start()
    assert path.read_text() == "precious"


@pytest.mark.parametrize("address", [":0", "[::1]:0", "localhost:0"])
async def test_forms_of_listen_addresses(address: str) -> None:
    async with serve(listen=lambda: address) as served:
        host, _, port = served.server.addresses[0].rpartition(":")
        assert int(port) > 0
        assert host in ("[::]", "0.0.0.0", "[::1]", "localhost")


async def test_garbage_is_refused_and_the_server_lives_on() -> None:
    async with serve(sample_rows("dns")) as served:
        channel: Any = served.channel
        call = channel.unary_unary(OBSERVER + "ServerStatus", None, None)
        for data in (b"\xff\xff", message((3, b"\x00")) + b"\x0a\x7f"):
            with pytest.raises(grpc.aio.AioRpcError):
                await call(data, timeout=SECONDS)
        assert await served.summaries() == ["UDP"]


def code(caught: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> object:
    error: Any = caught.value
    return error.code()
