"""A server with made-up traffic for `flowd top`: python -m tests.fakes.top_server."""

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from flowd.wire.flowd import agent_pb2
from flowd.wire.health import health_pb2
from flowd.wire.observer import observer_pb2
from tests.fakes import top_data

# grpc's handler factories are generic without bounds, which strict checking calls unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false


class TopServer:
    """Observer, Health and Agent services with the traffic of `top_data`.

    Args:
        rate: flows per second.
        idle: no flows, no routes, no traffic.
    """

    def __init__(self, rate: float = 40.0, idle: bool = False) -> None:
        self._pause = 1 / rate
        self._idle = idle

    async def start(self, listen: str) -> tuple[grpc.aio.Server, int]:
        """A running server and its port."""
        server = grpc.aio.server()
        for name, methods in {
            "grpc.health.v1.Health": {
                "Check": _one(self._check, health_pb2.HealthCheckRequest),
            },
            "observer.Observer": {
                "GetFlows": _many(self._flows, observer_pb2.GetFlowsRequest),
            },
            "flowd.v1.Agent": {
                "Status": _one(self._status, agent_pb2.StatusRequest),
                "Routes": _one(self._routes, agent_pb2.RoutesRequest),
                "Watch": _many(self._watch, agent_pb2.WatchRequest),
            },
        }.items():
            handler = grpc.method_handlers_generic_handler(name, methods)
            server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port(listen)
        await server.start()
        return server, port

    async def _check(self, _request: object, _context: object) -> health_pb2.HealthCheckResponse:
        serving = health_pb2.HealthCheckResponse.ServingStatus.SERVING
        return health_pb2.HealthCheckResponse(status=serving)

    async def _status(self, _request: object, _context: object) -> agent_pb2.StatusResponse:
        return top_data.status()

    async def _routes(self, _request: object, _context: object) -> agent_pb2.RoutesResponse:
        return agent_pb2.RoutesResponse() if self._idle else top_data.topology()

    async def _flows(
        self, request: observer_pb2.GetFlowsRequest, _context: object
    ) -> AsyncIterator[observer_pb2.GetFlowsResponse]:
        if self._idle:
            await asyncio.Event().wait()
        now = time.time_ns()
        for flow in top_data.flows(min(request.number, 300)):
            flow.time.FromNanoseconds(flow.time.ToNanoseconds() - top_data.BASE_NS + now)
            yield observer_pb2.GetFlowsResponse(flow=flow)
        chance = random.Random()
        for index in itertools.count() if request.follow else ():
            await asyncio.sleep(self._pause)
            make = chance.choice((top_data.http_flow, top_data.tcp_flow))
            flow = make(index, chance)
            flow.time.GetCurrentTime()
            yield observer_pb2.GetFlowsResponse(flow=flow)

    async def _watch(self, _request: object, _context: object) -> AsyncIterator[agent_pb2.Snapshot]:
        now = time.time_ns()
        for index in range(-300, 1):
            snapshot = top_data.snapshot(index, now + index * 10**9)
            if self._idle:
                del snapshot.routes[:]
            snapshot.history = index < 0
            yield snapshot
        for index in itertools.count(1):
            await asyncio.sleep(1)
            snapshot = top_data.snapshot(index, time.time_ns())
            if self._idle:
                snapshot.flows = 0
                del snapshot.routes[:]
            yield snapshot


def _one(method: Callable[..., Any], request: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_unary_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=_bytes,
    )


def _many(method: Callable[..., Any], request: Any) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_stream_rpc_method_handler(
        method,
        request_deserializer=request.FromString,
        response_serializer=_bytes,
    )


def _bytes(answer: Message) -> bytes:
    return answer.SerializeToString()


async def main() -> None:
    parser = argparse.ArgumentParser(description="Serve invented traffic to `flowd top`.")
    parser.add_argument("--listen", default="127.0.0.1:4245")
    parser.add_argument("--rate", type=float, default=40.0)
    parser.add_argument("--idle", action="store_true")
    given = parser.parse_args()
    server, port = await TopServer(given.rate, given.idle).start(given.listen)
    print(f"serving on port {port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
