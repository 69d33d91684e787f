"""Every decoder of untrusted input, as a function of bytes that raises only for a bug."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from flowd.accesslog.lines_to_rows import LineParser
from flowd.accesslog.values import MAX_TEXT
from flowd.capture.envoy.decode import EntryDecoder, StreamIdentifier, stream_identifier
from flowd.capture.logs.otlp_entries import OtlpEntries
from flowd.capture.logs.wrapping import Unwrapper
from flowd.commands.replay.flows import FlowLogParser
from flowd.commands.replay.inputs import InputKind, read_entries
from flowd.commands.replay.output import LineEncoder
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
MAX_DURATION_NS = 366 * 24 * 3600 * 10**9
SEEDS = Path(__file__).parents[1] / "data" / "fuzz"


class Attribution:
    """The stages after a decoder: attribution of routes, and output of `flowd replay`."""

    def __init__(self) -> None:
        self.losses = Losses()
        self.directory = Directory()
        self.attributor = Attributor(self.directory, "eg")
        objects = load_manifests([MANIFESTS / "routes.yaml"], self.losses)
        self.attributor.update(objects, 0)
        identities = IdentityTable(
            self.directory, node_name="", cluster_name="", proc=Path("/nonexistent")
        )
        self.maker = LineEncoder(self.directory, identities)

    def take(self, batch: RequestBatch) -> None:
        """Check the bounds of rows, attribute them, and print them."""
        for name in TEXT_COLUMNS:
            assert all(text.__class__ is str and len(text) <= MAX_TEXT for text in batch[name])
        assert all(len(fields) <= 64 for fields in batch["headers"])
        assert (batch["duration_ns"] <= MAX_DURATION_NS).all()
        assert (batch["upstream_ns"] <= MAX_DURATION_NS).all()
        assert (batch["time_ns"] < 1 << 63).all()
        self.attributor.attribute(batch)
        for line in self.maker.lines("fuzz", batch, {}):
            json.loads(line)
            assert min(line) >= 0x20, "an unescaped control character"
            text = line.decode()
            assert not any("\x7f" <= char <= "\x9f" for char in text)


class Decoders:
    """One method for each kind of input; raises an exception only for a bug.

    Args:
        folder: for the files of decoders that read files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._attribution = Attribution()
        self._losses = self._attribution.losses

    def als(self, data: bytes) -> None:
        """A StreamAccessLogsMessage."""
        try:
            message = Envelope.FromString(data)
        except DecodeError:
            return
        entries = EntryDecoder(self._losses, final_only=False, trusted_hops=1)
        entries.add(message, stream_identifier(message, StreamIdentifier()), NOW)
        self._attribution.take(entries.take())

    def lines(self, data: bytes) -> None:
        """Lines of JSON or text."""
        parser = LineParser(self._losses, final_only=False)
        for line in data.split(b"\n"):
            parser.add(line)
        self._attribution.take(parser.take())

    def otlp(self, data: bytes) -> None:
        """An ExportLogsServiceRequest."""
        try:
            request = ExportLogsServiceRequest.FromString(data)
        except DecodeError:
            return
        entries = OtlpEntries(self._losses, final_only=False)
        entries.add(request)
        self._attribution.take(entries.take())

    def wrapped(self, data: bytes) -> None:
        """Lines of a container runtime's log file."""
        unwrapper = Unwrapper(self._losses)
        parser = LineParser(self._losses, final_only=False)
        for line in data.split(b"\n"):
            inner = unwrapper.feed(line)
            if inner is not None:
                parser.add(inner)
        self._attribution.take(parser.take())

    def flows(self, data: bytes) -> None:
        """Lines of a flow log."""
        parser = FlowLogParser(self._losses)
        for line in data.split(b"\n"):
            parser.add(line)
        batch, recorded = parser.take()
        self._attribution.take(batch)
        assert all(0 <= row < len(batch) for row in recorded)

    def file(self, kind: InputKind) -> Decoder:
        """A decoder of the files that `flowd replay` reads."""
        path = self._folder / kind

        def read(data: bytes) -> None:
            path.write_bytes(data)
            for entries in read_entries(str(path), kind, [], self._losses):
                self._attribution.take(entries.batch)

        return read


def decoders(folder: Path) -> dict[str, Decoder]:
    """All decoders by name; those that read files write them into the folder."""
    made = Decoders(folder)
    return {
        "als": made.als,
        "json": made.lines,
        "text": made.lines,
        "otlp": made.otlp,
        "wrapped": made.wrapped,
        "flows": made.flows,
        "framed-als": made.file("als"),
        "framed-otlp": made.file("otlp"),
        "recording": made.file("auto"),
    }


def corpus(name: str) -> list[bytes]:
    """The inputs to mutate: recorded entries, and the seeds of tests/data/fuzz."""
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
        if len(frame) < 20_000:  # skip the first of a stream, whose node identifier has 61 KB
            found.append(frame)
        at += 4 + size
    return found
