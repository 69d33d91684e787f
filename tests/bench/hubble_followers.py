"""Follow a Hubble server with COUNT clients that count bytes: `hubble_followers ADDRESS COUNT`."""

import asyncio
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived

from flowd.wire.observer.observer_pb2 import GetFlowsRequest
from flowd_exporters.h2grpc.service import frame

FLOWS = 20_000


async def follow(address: str, ready: asyncio.Semaphore) -> None:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(
        1,
        [
            (":method", "POST"), (":scheme", "http"), (":authority", address),
            (":path", "/observer.Observer/GetFlows"), ("te", "trailers"),
            ("content-type", "application/grpc"),
        ],
    )  # fmt: skip
    client.send_data(1, frame(GetFlowsRequest(follow=True)), end_stream=True)
    held = b""
    seen = 0
    while seen < FLOWS:
        writer.write(client.data_to_send())
        for event in client.receive_data(await reader.read(1 << 20)):
            if isinstance(event, ResponseReceived):
                ready.release()
            if isinstance(event, DataReceived):
                held += event.data or b""
                client.acknowledge_received_data(event.flow_controlled_length or 0, 1)
        while len(held) > 5 and len(held) >= (end := 5 + int.from_bytes(held[1:5])):
            held = held[end:]
            seen += 1
    writer.close()


async def main(address: str, count: int) -> None:
    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(follow(address, ready)) for _ in range(count)]
    for _ in range(count):
        await ready.acquire()
    await asyncio.sleep(0.5)
    print("ready", flush=True)
    await asyncio.gather(*tasks)
    print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
