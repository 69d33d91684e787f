"""Recorded access logs of a real Envoy with the truth beside them, and how entries fare."""

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
LOGS = DATA / "accesslog"
MANIFESTS = DATA / "envoy"
SOURCES = {
    "ALS": ("http.als.bin", "tcp.als.bin"),
    "JSON, every operator": ("http.all.jsonl", "tcp.all.jsonl", "listener.all.jsonl"),
    "default file format": ("http.default", "tcp.default"),
    "OTLP logs": ("otlp.bin",),
}
EXTENSIONS = {"eg": "jsonl", "istio": "log"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of `flowd replay`, and what the client asked for and which pod answered."""

    line: dict[str, Any]
    truth: dict[str, Any]

    @property
    def route(self) -> list[Any] | None:
        """The route that flowd says, in the truth's form."""
        route = self.line["route"]
        return [*route.values()] if route else None

    @property
    def backend(self) -> str | None:
        """The backend that flowd says, as `namespace/service:port`."""
        found = self.line["backend"]
        return f"{found['namespace']}/{found['name']}:{found['port']}" if found else None

    @property
    def wrong(self) -> str:
        """What is not as it should be, or ""."""
        gateway, listener = self.truth["gateway"], self.truth["listener"]
        if (self.line["gateway"], self.line["listener"]) != (gateway, listener):
            return "listener"
        if self.route != self.truth["route"]:
            return "route"
        served = self.truth["backend"]
        if served and self.backend != served.partition("@")[0]:
            return "backend"
        return ""


def paths(dialect: str, source: str) -> list[Path]:
    """The recordings of a source."""
    names = SOURCES[source]
    if source == "default file format":
        names = tuple(f"{name}.{EXTENSIONS[dialect]}" for name in names)
    return [LOGS / f"{dialect}.{name}.gz" for name in names]


def manifests(dialect: str) -> list[str]:
    """Arguments that name the objects."""
    return [
        argument
        for name in ("routes.yaml", f"{dialect}.gateways.yaml")
        for argument in ("--manifests", str(MANIFESTS / name))
    ]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a compressed file."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def paired(dialect: str, lines: list[dict[str, Any]]) -> list[Entry]:
    """Each line with its truth: by request id for HTTP, by the client's socket for the rest."""
    known = read_lines(LOGS / f"{dialect}.truth.jsonl.gz")
    by_id = {truth["request_id"]: truth for truth in known if truth["request_id"]}
    by_client = {truth["client"]: truth for truth in known if not truth["request_id"]}
    entries: list[Entry] = []
    for line in lines:
        truth = by_id.get(line["request_id"]) or by_client[line["downstream"]["remote"]]
        entries.append(Entry(line, truth))
    return entries


def tally(entries: list[Entry]) -> Counter[str]:
    """Entries by evidence, and under `wrong` those that are."""
    counts = Counter(entry.line["attribution"] for entry in entries)
    counts["wrong"] = sum(bool(entry.wrong) for entry in entries)
    return counts
