"""Every decoder of what strangers send, as a function of bytes that fails only for a bug."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.values import MAX_TEXT
from flowd.capture.envoy.decode import EntryDecoder, Source, source_of
from flowd.capture.logs.otlp_entries import OtlpEntries
from flowd.capture.logs.wrapping import Unwrapper
from flowd.commands.replay.flows import FlowLines
from flowd.commands.replay.inputs import Kind, read_entries
from flowd.commands.replay.output import LineMaker
from flowd.gateway.attribution.attribute import Attributor
from flowd.identity.table import IdentityTable
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.records.request import TEXT_COLUMNS, RequestBatch
from flowd.wire.als.als_pb2 import Envelope
from tests.support.attribution_truth import LOGS, MANIFESTS

Decoder = Callable[[bytes], None]
NOW = 1_795_248_845 * 10**9
LONGEST = 366 * 24 * 3600 * 10**9
SEEDS = Path(__file__).parents[1] / "data" / "fuzz"


class Agent:
    """What an entry meets after its decoder."""

    def __init__(self) -> None:
        self.losses = Losses()
        self.directory = Directory()
        self.attributor = Attributor(self.directory, "eg")
        objects = load_manifests([MANIFESTS / "routes.yaml"], self.losses)
        self.attributor.update(objects, 0)
        identities = IdentityTable(
            self.directory, node_name="", cluster_name="", proc=Path("/nonexistent")
        )
        self.maker = LineMaker(self.directory, identities)

    def take(self, batch: RequestBatch) -> None:
        """Check that rows are within bounds, attribute them, and show them."""
        for name in TEXT_COLUMNS:
            assert all(text.__class__ is str and len(text) <= MAX_TEXT for text in batch[name])
        assert all(len(fields) <= 64 for fields in batch["headers"])
        assert (batch["duration_ns"] <= LONGEST).all()
        assert (batch["upstream_ns"] <= LONGEST).all()
        assert (batch["time_ns"] < 1 << 63).all()
        self.attributor.attribute(batch)
        for line in self.maker.lines("fuzz", batch, {}):
            json.loads(line)
            assert min(line) >= 0x20, "a control character as it came"
            text = line.decode()
            assert not any("\x7f" <= char <= "\x9f" for char in text)


def decoders(folder: Path) -> dict[str, Decoder]:
    """By name. Files are written below a folder."""
    agent = Agent()
    losses = agent.losses

    def als(data: bytes) -> None:
        try:
            message = Envelope.FromString(data)
        except DecodeError:
            return
        entries = EntryDecoder(losses, ends_only=False, trusted_hops=1)
        entries.add(message, source_of(message, Source()), NOW)
        agent.take(entries.take())

    def lines(data: bytes) -> None:
        parser = LineParser(losses, ends_only=False)
        for line in data.split(b"\n"):
            parser.add(line)
        agent.take(parser.take())

    def otlp(data: bytes) -> None:
        try:
            request = ExportLogsServiceRequest.FromString(data)
        except DecodeError:
            return
        entries = OtlpEntries(losses, ends_only=False)
        entries.add(request)
        agent.take(entries.take())

    def wrapped(data: bytes) -> None:
        unwrapper = Unwrapper(losses)
        parser = LineParser(losses, ends_only=False)
        for line in data.split(b"\n"):
            inner = unwrapper.feed(line)
            if inner is not None:
                parser.add(inner)
        agent.take(parser.take())

    def flows(data: bytes) -> None:
        found = FlowLines(losses)
        for line in data.split(b"\n"):
            found.add(line)
        batch, recorded = found.take()
        agent.take(batch)
        assert all(0 <= row < len(batch) for row in recorded)

    def file(kind: Kind) -> Decoder:
        path = folder / kind

        def read(data: bytes) -> None:
            path.write_bytes(data)
            for entries in read_entries(str(path), kind, [], losses):
                agent.take(entries.batch)

        return read

    return {
        "als": als,
        "json": lines,
        "text": lines,
        "otlp": otlp,
        "wrapped": wrapped,
        "flows": flows,
        "framed-als": file("als"),
        "framed-otlp": file("otlp"),
        "recording": file("auto"),
    }


def corpus(name: str) -> list[bytes]:
    """What mutation starts from: recorded entries, and the seeds of tests/data/fuzz."""
    found = [path.read_bytes() for path in sorted(SEEDS.glob(f"{name}.*"))]
    match name:
        case "als" | "framed-als":
            frames = _frames("kgateway.als.bin.gz")
        case "otlp" | "framed-otlp":
            frames = _frames("contour.otlp.bin.gz")
        case "text":
            frames = _read("istio.http.default.log.gz").splitlines()[:20]
        case "wrapped":
            lines = _read("eg.http.default.jsonl.gz").splitlines()[:10]
            frames = [b"2026-11-21T08:14:05.574Z stdout F " + line for line in lines]
            frames += [json.dumps({"log": line.decode() + "\n", "stream": "stdout"}).encode()
                       for line in lines]  # fmt: skip
        case "flows":
            frames = [(SEEDS / "flow.json").read_bytes()]
        case _:
            frames = _read("contour.flowd.jsonl.gz").splitlines()[:20]
            frames += _read("eg.http.all.jsonl.gz").splitlines()[:4]
    if name.startswith("framed"):
        frames = [len(frame).to_bytes(4, "big") + frame for frame in frames]
    return found + frames


def _read(name: str) -> bytes:
    return gzip.decompress((LOGS / name).read_bytes())


def _frames(name: str) -> list[bytes]:
    data, at = _read(name), 0
    found: list[bytes] = []
    while at < len(data) and len(found) < 8:
        size = int.from_bytes(data[at : at + 4], "big")
        frame = data[at + 4 : at + 4 + size]
        if len(frame) < 20_000:  # not the first of a stream, with 61 KB of its node
            found.append(frame)
        at += 4 + size
    return found
