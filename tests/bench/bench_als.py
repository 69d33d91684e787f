"""Cost of each step from ALS bytes to joined flows, on one core.

    python -m tests.bench.bench_als

The entries are those of a real Envoy (tests/data/als), 16 KiB in a message, every eighth with its
own client socket. The join runs beside 100,000 open connections.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier
from flowd.capture.envoy.server import FLUSH_ROWS
from flowd.model.address import pack
from flowd.model.enums import Protocol, Reason
from flowd.model.losses import Losses
from flowd.model.records.connection import ConnectionBatch, empty_connections
from flowd.model.records.request import RequestBatch
from flowd.pipeline.flows import FlowBuilder
from flowd.pipeline.join.connection_table import ConnectionTable
from flowd.pipeline.join.join import Join
from flowd.wire.als.als_pb2 import Addr, Envelope, Http, Message, Sock

DATA = Path(__file__).parents[1] / "data" / "als" / "envoy.als.bin"
ENTRIES, OPEN, RUNS, BATCH = 20_000, 100_000, 7, 2_000
SECOND = 10**9


def recorded() -> Iterator[Http]:
    data, at = DATA.read_bytes(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield from Message.FromString(data[at + 4 : at + 4 + size]).http.entries
        at += 4 + size


def messages() -> list[bytes]:
    """ENTRIES entries in messages of about 16 KiB."""
    found, made = list(recorded()), [Message()]
    for number in range(ENTRIES):
        entry = made[-1].http.entries.add()
        entry.CopyFrom(found[number % len(found)])
        socket = Sock(address=f"10.0.{number // 8 % 7}.9", port=1024 + number // 8)
        entry.common.direct_remote = Addr(socket=socket).SerializeToString()
        if len(made[-1].http.entries) == 30:
            made.append(Message())
    return [message.SerializeToString() for message in made]


def decode(raw: list[bytes]) -> RequestBatch:
    """Decode all entries to arrays of the server's size."""
    decoder, batches = EntryDecoder(Losses()), list[RequestBatch]()
    for each in raw:
        decoder.add(Envelope.FromString(each), StreamIdentifier("pod", "infra/public", "http"), 0)
        if len(decoder) >= FLUSH_ROWS:
            batches.append(decoder.take())
    return np.concatenate([*batches, decoder.take()])


class NoAddresses:
    """An empty address table, to measure the join alone."""

    is_local = is_gateway = np.zeros(1, np.bool_)
    identity_of = np.zeros(1, np.uint32)
    hostnames: Mapping[str, int] = {}

    def resolve(self, addresses: NDArray[np.uint8]) -> NDArray[np.uint32]:
        return np.zeros(len(addresses), np.uint32)

    def resolve_node_ports(
        self,
        endpoints: NDArray[np.uint32],
        ports: NDArray[np.uint16],
        protocols: NDArray[np.uint8],
    ) -> NDArray[np.uint32]:
        return endpoints


def records(requests: RequestBatch) -> ConnectionBatch:
    """The connections of the requests, among OPEN others."""
    rows = empty_connections(OPEN)
    rows["conn_id"] = np.arange(1, OPEN + 1)
    rows["protocol"], rows["reason"] = Protocol.TCP, Reason.NEW
    rows["first_ns"] = rows["time_ns"] = requests["time_ns"].min() - SECOND
    rows["src_addr"] = np.frombuffer(pack("10.1.0.1"), np.uint8)
    rows["dst_addr"] = np.frombuffer(pack("10.1.0.2"), np.uint8)
    rows["src_port"], rows["dst_port"] = np.divmod(np.arange(OPEN), 1 << 16)
    at = 0
    for near, far in (("client", "local"), ("up_local", "up_remote")):
        told = requests[requests[f"{near}_port"] != 0]
        for side, name in (("src", near), ("dst", far)):
            for column in ("addr", "port"):
                part = rows[f"{side}_{column}"]
                part[at : at + len(told)] = told[f"{name}_{column}"]
        at += len(told)
    pairs = rows[["src_addr", "src_port", "dst_addr", "dst_port"]].copy()
    _, first = np.unique(pairs.view(f"V{pairs.dtype.itemsize}"), return_index=True)
    return rows[np.sort(first)]


def measure(name: str, rows: int, work: Callable[[], object]) -> None:
    """Print the median and the range of RUNS runs."""
    seconds: list[float] = []
    for _ in range(RUNS):
        begun = time.process_time()
        work()
        seconds.append(time.process_time() - begun)
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    each = f"{middle / rows * 1e6:7.2f} µs  ({low / rows * 1e6:.2f} to {high / rows * 1e6:.2f})"
    print(f"{name:44} {rows / middle:12,.0f} /s {each}")


def main() -> None:
    raw = messages()
    requests = decode(raw)
    known = records(requests)
    now = int(requests["time_ns"].max()) + SECOND
    batches = [requests[at : at + BATCH] for at in range(0, len(requests), BATCH)]

    def joining(table: ConnectionTable) -> int:
        join = Join(NoAddresses(), Losses(), table)
        return sum(
            len(join.step(empty_connections(), batch[np.arange(len(batch))], now).requests)
            for batch in batches
        )

    table = ConnectionTable()
    table.update(known)
    print(f"{RUNS} runs, median (lowest to highest), process time")
    measure("bytes to REQUEST rows, entries", len(requests), lambda: decode(raw))
    measure("join step with flows, requests", len(requests), lambda: joining(table))
    flows = FlowBuilder(NoAddresses())
    nothing = empty_connections()
    measure(
        "of that, flow rows, requests",
        len(requests),
        lambda: [flows.build(nothing, batch, now) for batch in batches],
    )
    measure(
        "first records into the table, connections", OPEN, lambda: ConnectionTable().update(known)
    )
    measure("further records into the table, records", OPEN, lambda: table.update(known))


if __name__ == "__main__":
    main()
