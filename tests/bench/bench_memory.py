"""Resident memory of the access-log path over 5 million entries.

    python -m tests.bench.bench_memory [ENTRIES]

ALS messages of a real Envoy (tests/data/accesslog) are decoded and attributed by names and by the
resolver. 81,920 entries, more than any cache holds, are repeated; each has its own client, path and
request id, a quarter have their own host, and a 64th their own cluster.
"""

import random
import sys
from itertools import cycle
from pathlib import Path

from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier
from flowd.gateway.attribution.attribute import Attributor
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.wire.als.als_pb2 import Addr, Envelope, Http, Message, Sock
from tests.fuzz.decoders import corpus
from tests.support.attribution_truth import MANIFESTS

STEP, BATCH, MESSAGES = 1_000_000, 4096, 20


def resident() -> float:
    """Resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def recorded() -> list[Http]:
    return [entry for raw in corpus("als") for entry in Message.FromString(raw).http.entries]


def varied(entries: list[Http], rng: random.Random) -> bytes:
    """A message of BATCH distinct entries."""
    message = Message()
    for number in range(BATCH):
        entry = message.http.entries.add()
        entry.CopyFrom(entries[number % len(entries)])
        host = f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(256)}"
        client = Addr(socket=Sock(address=host, port=rng.randrange(1024, 65536)))
        entry.common.direct_remote = entry.common.remote = client.SerializeToString()
        entry.request.path = f"/{rng.randrange(1 << 40):x}/{rng.randrange(1 << 20)}?q={number}"
        entry.request.request_id = f"{rng.getrandbits(128):032x}"
        if number % 4 == 0:
            entry.request.authority = f"{rng.getrandbits(64):x}.shop.example"
            entry.common.route_name = ""
        if number % 64 == 0:
            entry.common.cluster = f"kube_shop_{rng.getrandbits(64):x}_80"
            entry.common.custom_tags["x.metadata_route_istio_config"] = f"{rng.getrandbits(64):x}"
    return message.SerializeToString()


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 5 * STEP
    directory, losses, rng = Directory(), Losses(), random.Random(1)
    attributor = Attributor(directory, "kgateway")
    attributor.update(load_manifests([MANIFESTS / "kgateway.objects.yaml"], losses), 0)
    decoder, entries = EntryDecoder(losses), recorded()
    messages = [varied(entries, rng) for _ in range(MESSAGES)]
    print("| entries | resident, MiB | routes | backends |\n| --- | --- | --- | --- |")
    done = shown = 0
    for raw in cycle(messages):
        decoder.add(Envelope.FromString(raw), StreamIdentifier("pod", "", "http"), 0)
        batch = decoder.take()
        attributor.attribute(batch)
        done += len(batch)
        if done // STEP > shown or done >= total:
            shown = done // STEP
            kinds = len(directory.routes), len(directory.backends)
            print(f"| {done:,} | {resident():.1f} | {kinds[0]:,} | {kinds[1]:,} |", flush=True)
        if done >= total:
            return


if __name__ == "__main__":
    main()
