"""Recorded access-log entries of tests/data/envoy as REQUEST rows, with the true backends."""

import json
from dataclasses import dataclass
from pathlib import Path

from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack
from flowd.model.enums import RESPONSE_FLAGS, EntryKind
from flowd.model.losses import Losses
from flowd.model.records.request import RequestBatch, empty_requests

DATA = Path(__file__).parent.parent / "data" / "envoy"
_TEXT = ("method", "host", "path", "original_path", "sni", "route_name", "cluster", "details")


@dataclass(frozen=True)
class Truth:
    """A client's request and the backend that answered."""

    seq: str
    gateway: str
    listener: str
    route: tuple[str, str, str, int, int, str] | None
    backend: str  # namespace/name:port, "" when none answered
    path: str


def bundle(dialect: str) -> Objects:
    """The Kubernetes objects under which the entries were recorded."""
    return load_manifests([DATA / "routes.yaml", DATA / f"{dialect}.gateways.yaml"], Losses())


def recorded(dialect: str) -> tuple[RequestBatch, list[Truth]]:
    """All entries of a dialect as one batch, with the truth of each row."""
    lines = [json.loads(line) for line in (DATA / f"{dialect}.jsonl").read_text().splitlines()]
    batch = empty_requests(len(lines))
    truths: list[Truth] = []
    for row, line in enumerate(lines):
        batch["kind"][row] = EntryKind.HTTP if line["kind"] == "http" else EntryKind.TCP
        batch["time_ns"][row] = int(line["time"] * 1e9)
        batch["node_cluster"][row] = "infra/public"  # one Envoy served both Gateways
        batch["headers"][row] = line.get("headers", {})
        batch["scheme"][row] = line.get("scheme", "http")
        for column in _TEXT:
            batch[column][row] = line.get(column, "")
        for column, name in (("local", "local"), ("up_remote", "up_remote")):
            if name in line:
                address, _, port = line[name].rpartition(":")
                batch[f"{column}_addr"][row] = list(pack(address))
                batch[f"{column}_port"][row] = int(port)
        if "flags" in line:
            batch["flags"][row] = 1 << RESPONSE_FLAGS.index(line["flags"])
        expect = line["expect"]
        truths.append(
            Truth(
                line["seq"],
                expect["gateway"],
                expect["listener"],
                tuple(expect["route"]) if expect["route"] else None,
                (expect["backend"] or "").partition("@")[0],
                expect.get("path") or line.get("path") or "",
            )
        )
    return batch, truths
