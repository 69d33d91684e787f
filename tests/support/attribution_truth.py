"""Recorded access logs of a real Envoy with the true route and backend, and their comparison."""

import gzip
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "data"
LOGS = DATA / "accesslog"
MANIFESTS = DATA / "envoy"
DIALECTS = ("eg", "istio", "contour", "cilium", "kgateway")
OWN_FORMAT = "JSON of `flowd routes headers`"
DEFAULT = "default or sample format"
_WHOLE = {
    "ALS": ("http.als.bin", "tcp.als.bin"),
    "JSON, every operator": ("http.all.jsonl", "tcp.all.jsonl", "listener.all.jsonl"),
    DEFAULT: ("http.default", "tcp.default"),
    "OTLP logs": ("otlp.bin",),
}
_TESTS = {
    "ALS": ("als.bin",),
    OWN_FORMAT: ("flowd.jsonl",),
    DEFAULT: ("default",),
    "OTLP logs": ("otlp.bin",),
}
_EXTENSIONS = {"istio": "log", "contour": "log"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of `flowd replay`, with the client's request and the pod that answered."""

    line: dict[str, Any]
    truth: dict[str, Any]

    @property
    def route(self) -> list[Any] | None:
        """The route in flowd's output, in the form of the truth."""
        route = self.line["route"]
        return [*route.values()] if route else None

    @property
    def backend(self) -> str | None:
        """The backend in flowd's output, as `namespace/service:port`."""
        found = self.line["backend"]
        return f"{found['namespace']}/{found['name']}:{found['port']}" if found else None

    @property
    def differing(self) -> list[tuple[str, Any]]:
        """Values that differ from the truth, with the truth."""
        served = (self.truth["backend"] or "").partition("@")[0]
        pairs = [
            ("gateway", self.line["gateway"], self.truth["gateway"]),
            ("listener", self.line["listener"], self.truth["listener"]),
            ("route", self.route, self.truth["route"]),
            ("backend", self.backend if served else None, served or None),
        ]
        return [(name, said) for name, said, truth in pairs if said != truth]

    @property
    def wrong(self) -> str:
        """Wrong values in flowd's output, or ""; a missing route counts as wrong."""
        return next((name for name, said in self.differing if said or name == "route"), "")

    @property
    def is_open(self) -> bool:
        """Whether a value is unknown, and no value is wrong."""
        return bool(self.differing) and not self.wrong


def sources(dialect: str) -> dict[str, list[str]]:
    """Arguments of `flowd replay` for each source: recordings and formats."""
    found: dict[str, list[str]] = {}
    for source, names in (_WHOLE if dialect in ("eg", "istio") else _TESTS).items():
        if source == DEFAULT:
            names = tuple(f"{name}.{_EXTENSIONS.get(dialect, 'jsonl')}" for name in names)
        found[source] = [str(LOGS / f"{dialect}.{name}.gz") for name in names]
    if dialect == "cilium":
        found[DEFAULT] += ["--access-log-format", str(LOGS / "cilium.format.yaml")]
    return found


def manifests(dialect: str) -> list[str]:
    """The `--manifests` arguments."""
    names = (f"{dialect}.objects.yaml",)
    if dialect in ("eg", "istio"):
        names = ("routes.yaml", f"{dialect}.gateways.yaml")
    return [argument for name in names for argument in ("--manifests", str(MANIFESTS / name))]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a compressed file."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def paired(
    dialect: str, lines: list[dict[str, Any]], known: list[dict[str, Any]] | None = None
) -> list[Entry]:
    """Pair each line with its truth: HTTP by request id, TCP by the client's socket.

    Linux may give connections to two listeners the same port; they pair in their order.

    Args:
        known: the truth, if not that of the recordings.
    """
    known = known or read_lines(LOGS / f"{dialect}.truth.jsonl.gz")
    by_id = {truth["request_id"]: truth for truth in known if truth["request_id"]}
    by_client: dict[str, list[dict[str, Any]]] = {}
    for truth in known:
        if not truth["request_id"]:
            by_client.setdefault(truth["client"], []).append(truth)
    entries: list[Entry] = []
    for line in lines:
        truth = by_id.get(line["request_id"])
        if truth is None:
            connections = by_client[line["downstream"]["remote"]]
            truth = connections.pop(0) if len(connections) > 1 else connections[0]
        entries.append(Entry(line, truth))
    return entries


def tally(entries: list[Entry]) -> Counter[str]:
    """Count entries by evidence, and those that are `open` or `wrong`."""
    counts = Counter(entry.line["attribution"] for entry in entries)
    counts["open"] = sum(entry.is_open for entry in entries)
    counts["wrong"] = sum(bool(entry.wrong) for entry in entries)
    return counts
