"""Rates of the Hubble API: `python -m tests.bench.bench_hubble [--cli PATH]`.

Filters and encoding run in this process; then a separate server streams to a grpcio client, to 1,
10 and 100 followers, and to the hubble CLI if installed. CPU is the server's user and system time.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from multiprocessing import Process, Queue, get_context
from pathlib import Path
from typing import Any, cast

import grpc
import numpy as np

from flowd.filter import compile_filters
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.dns import Dns
from flowd.model.records.flow import FlowRows
from flowd.runtime.queue import Queue as FlowQueue
from flowd.wire.flow.flow_pb2 import FlowFilter
from flowd.wire.observer.observer_pb2 import GetFlowsRequest
from flowd_exporters.api_server import ApiServer
from flowd_exporters.hubble.encode.fast_encode import FastFlowEncoder
from flowd_exporters.hubble.encode.field_mask import CLI_DEFAULT, parse_mask
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from flowd_exporters.hubble.exporter import HubbleExporter
from flowd_exporters.hubble.ring import FlowRing
from tests.support.flow_samples import batch, cluster, random_rows, sample_rows

STREAMED = 200_000
CHUNK = 1024
ROUNDS = 5
GET_FLOWS = "/observer.Observer/GetFlows"


def l4_rows(count: int) -> FlowRows:
    """L3/L4 flows (TCP and UDP) of a thousand clients, each with its own ports."""
    rows = random_rows(count, 1)
    rows = rows[(rows["l7_type"] == 0) & (rows["src_process"] == 0)]
    rows["nat"], rows["src_name"] = 0, None
    rows = rows[np.arange(count) % len(rows)]
    rng = np.random.default_rng(2)
    rows["seq"] = np.arange(1, count + 1)
    rows["time_ns"] = np.uint64(time.time_ns()) + np.arange(count, dtype=np.uint64) * np.uint64(999)
    rows["src_port"] = rng.integers(1024, 65536, count)
    rows["src_addr"][:, 14:] = rng.integers(0, 32, (count, 2))
    rows["flags"] = rng.choice([0x02, 0x12, 0x10, 0x18, 0x11], count)
    rows["verdict"] = 1
    rows["packets"], rows["bytes"] = rng.integers(1, 2000, (2, count))
    return rows


def per_row(work: Callable[[], object], rows: int) -> float:
    """Best of the rounds, microseconds for each row."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / rows * 1e6


def local() -> None:
    directory = cluster()
    rows = l4_rows(65536)
    print("filters, million rows a second")
    for name, one in {
        "port": FlowFilter(destination_port=["8080"]),
        "address": FlowFilter(source_ip=["10.1.0.0/24"]),
        "label": FlowFilter(source_label=["app=web"]),
    }.items():
        select = compile_filters([one], [], directory)
        print(f"  {name:22}{1 / per_row(lambda select=select: select(rows), len(rows)):8.1f}")
    rows = rows[:8192]
    http = random_rows(65536, 3)
    http = http[http["l7_type"] != 0][:8192]
    translated = rows.copy()
    translated["nat"], translated["nat_src_addr"] = 1, translated["src_addr"]
    translated["nat_src_port"], translated["nat_dst_port"] = translated["src_port"], 8443
    print("encoding, microseconds a flow")
    rng = np.random.default_rng(4)
    encoder = FlowEncoder(directory)
    classes = per_row(lambda: [one.SerializeToString() for one in encoder.encode(rows)], len(rows))
    print(f"  protobuf classes, L4  {classes:8.2f}")
    for name, chosen, paths in (
        ("frames, L4", rows, ()),
        ("frames, L4, CLI's mask", rows, CLI_DEFAULT),
        ("frames, NAT, known", translated, ()),
        ("frames, NAT, new", translated, ()),
        ("frames, HTTP", http, ()),
    ):
        frames = FastFlowEncoder(directory, parse_mask(paths))

        def work(
            frames: FastFlowEncoder = frames, chosen: FlowRows = chosen, name: str = name
        ) -> None:
            if name.endswith("new"):  # every connection is seen for the first time
                chosen["src_port"] = chosen["nat_src_port"] = rng.integers(1, 65536, len(chosen))
            for start in range(0, len(chosen), CHUNK):
                frames.encode(chosen[start : start + CHUNK])

        size = len(frames.encode(chosen)) / len(chosen)
        print(f"  {name:22}{per_row(work, len(chosen)):8.2f}, {size:.0f} bytes")
    print("the ring, bytes a flow")
    for name, kinds in {
        "TCP": ("syn", "synack"),
        "translated": ("outside", "socket"),
        "DNS": ("query", "answer"),
        "HTTP": ("request", "response"),
    }.items():
        print(f"  {name:22}{held(kinds):8.0f}")


def held(kinds: tuple[str, str], count: int = 40_960) -> float:
    """Bytes for each flow in the ring, for pairs of flows with distinct texts."""
    ring = FlowRing()
    tracemalloc.start()
    try:
        for first in range(0, count, CHUNK):
            ring.append(with_texts(sample_rows(*kinds)[np.arange(CHUNK) % 2], first))
        return tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()


def with_texts(rows: FlowRows, first: int) -> FlowRows:
    """Request and response rows, HTTP or DNS, with distinct URLs, headers, ids and names."""
    for place in range(0, len(rows), 2):
        pair, number = slice(place, place + 2), first + place
        if rows["url"][place]:
            trace = f"{number:032x}"
            rows["url"][pair] = f"http://shop.example/cart/items/{number:016x}?page={number}"
            rows["request_id"][pair] = f"{number:08x}-0000-4000-8000-{number:012x}"
            rows["trace_id"][pair] = trace
            rows["headers"][place] = {
                "user-agent": f"curl/8.{number % 1000}",
                "x-forwarded-for": f"10.1.{number % 200}.{number % 250}",
                "traceparent": f"00-{trace}-0123456789abcdef-01",
            }
            rows["headers"][place + 1] = None
        if rows["dns"][place]:
            name = f"svc-{number:x}.shop.svc.cluster.local."
            rows["dns"][place] = Dns(name, "A")
            answers = (f"10.1.{number % 200}.{number % 250}",)
            rows["dns"][place + 1] = Dns(name, "A", 0, answers, (), 30, ("A",))
    return rows


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def serve(told: "Queue[Any]", asked: "Queue[str]") -> None:
    asyncio.run(serving(told, asked))


async def serving(told: "Queue[Any]", asked: "Queue[str]") -> None:
    """Serve STREAMED flows; the command "cpu" returns seconds, "more" adds 20,000 flows."""
    losses = Losses()
    directory = cluster()
    hubble = HubbleExporter(directory, losses, memory=256 << 20)
    server = ApiServer(["127.0.0.1:0"], [hubble.add_to])
    await server.start()
    queue = FlowQueue[FlowBatch]("hubble", 10**6, losses)
    running = asyncio.create_task(hubble.run(queue))
    rows = l4_rows(STREAMED)
    queue.put(batch(rows))
    await hubble.ring.wait_readable(STREAMED - 1, 0)
    told.put(server.addresses[0])
    while (order := await asyncio.to_thread(asked.get)) != "stop":
        if order == "more":
            for start in range(0, 20_000, 500):
                queue.put(batch(rows[start : start + 500]))
                await asyncio.sleep(0.01)
        told.put(cpu())
    await server.stop()
    queue.close()
    await running


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cli", type=Path, help="the hubble CLI")
    arguments = parser.parse_args()
    local()
    spawn = get_context("spawn")
    told: Queue[Any] = spawn.Queue()
    asked: Queue[str] = spawn.Queue()
    server = cast("Process", spawn.Process(target=serve, args=(told, asked)))
    server.start()
    try:
        stream(told.get(), told, asked, arguments.cli)
    finally:
        asked.put("stop")
        server.join(10)


def stream(address: str, told: "Queue[Any]", asked: "Queue[str]", cli: Path | None) -> None:
    def used() -> float:
        asked.put("cpu")
        return told.get()

    def tell(name: str, flows: int, took: float, spent: float) -> None:
        print(f"  {name:22}{flows / took:8.0f} flows/s, {spent / flows * 1e6:.2f} us of CPU a flow")

    print(f"streaming {STREAMED} flows from a server of its own")
    request = GetFlowsRequest(number=2**64 - 1).SerializeToString()
    with grpc.insecure_channel(address) as channel:
        began, before = time.perf_counter(), used()
        count = sum(1 for _ in cast("Any", channel).unary_stream(GET_FLOWS, None, None)(request))
        tell("grpcio client", count, time.perf_counter() - began, used() - before)
    if cli:
        for form in ("compact", "json") * 3:
            with tempfile.TemporaryFile() as printed:  # a pipe would have it wait for us
                began, before = time.perf_counter(), used()
                command = [cli, "observe", "--all", "--server", address, "-o", form]
                subprocess.run(command, stdout=printed, check=True)
                took, spent = time.perf_counter() - began, used() - before
                printed.seek(0)
                assert sum(1 for _ in printed) == STREAMED
            tell(f"hubble CLI, {form}", STREAMED, took, spent)
    for followers in (1, 10, 100):
        asyncio.run(follow(address, followers, told, asked))


async def follow(address: str, count: int, told: "Queue[Any]", asked: "Queue[str]") -> None:
    """CPU cost of 20,000 new flows with this many followers."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.hubble_followers", address, str(count),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert client.stdout
    await client.stdout.readline()
    asked.put("cpu")
    before = await asyncio.to_thread(told.get)
    asked.put("more")
    await asyncio.to_thread(told.get)
    await client.stdout.readline()
    asked.put("cpu")
    spent = await asyncio.to_thread(told.get) - before
    await client.wait()
    print(f"  {count:3} followers          {spent / 20_000 * 1e6:8.2f} us of CPU a flow")


if __name__ == "__main__":
    main()
