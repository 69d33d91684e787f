"""`flowd replay` as an ordinary user, to JSON lines and to exporters."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agent import PATIENCE, ROOT
from tests.e2e.otlp_receiver import receiving
from tests.support.attribution_truth import LOGS, manifests

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else"),
]

# Modules are imported as root before privileges are dropped: nobody may not read the checkout
AS_NOBODY = """
import atexit, os, sys
import flowd.cli, flowd.commands.replay.command, flowd.commands.replay.into_exporters, flowd.commands.replay.output
import flowd.commands.replay.pace, flowd.commands.replay.targets, flowd.accesslog.snippet
import flowd.gateway.attribution.attribute, flowd.kubernetes.manifests, numpy.ma
import flowd_exporters.flowlog.exporter, flowd_exporters.flowlog.config, flowd_exporters.otlp.exporter
import opentelemetry.exporter.otlp.proto.grpc.trace_exporter

def told():
    kernel = [name for name in sys.modules if name.startswith(("flowd_bpf", "flowd.capture.kernel.source"))]
    print("kernel modules", kernel, "user", os.getuid(), file=sys.stderr)

atexit.register(told)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv[0] = "flowd"
flowd.cli.main()
"""
KEYS = [
    *("input", "time", "request_id", "gateway", "listener", "route", "backend", "attribution"),
    *("status", "duration_us", "downstream", "upstream", "method", "host", "path"),
]


def replay(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `flowd replay` as nobody; asserts success and that no kernel module was loaded."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "replay", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kernel modules [] user 65534" in done.stderr
    return done


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder owned by nobody; pytest makes its own folders private to root at every start."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, 65534, 65534)
        yield Path(made)


def own(folder: Path, words: list[str]) -> list[str]:
    """The same arguments, with the files copied to a folder that the user can read."""
    copied: list[str] = []
    for word in words:
        path = Path(word)
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
            word = str(folder / path.name)
        copied.append(word)
    return copied


def test_a_line_an_entry_of_every_kind_of_recording(folder: Path) -> None:
    names = ("http.als.bin.gz", "http.all.jsonl.gz", "otlp.bin.gz")
    files = own(folder, [str(LOGS / f"eg.{name}") for name in names])
    done = replay(*own(folder, manifests("eg")), *files)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(list(line) == KEYS for line in lines)
    assert Counter(line["input"] for line in lines) == dict(
        zip(files, (180, 180, 220), strict=True)
    )
    by_id: dict[str, list[object]] = {}
    for line in lines:
        if line["status"] is not None:
            told = (line["gateway"], line["listener"], str(line["route"]), line["status"])
            by_id.setdefault(line["request_id"], []).append(told)
    assert len(by_id) == 180
    assert all(len(told) == 3 and len(set(told)) == 1 for told in by_id.values()), "all agree"


def test_every_exporter_at_a_pace(folder: Path) -> None:
    flows, metrics = folder / "flows.jsonl", folder / "metrics"
    recorded = own(folder, [str(LOGS / "eg.http.all.jsonl.gz")])
    objects = own(folder, manifests("eg"))
    with receiving() as receiver:
        targets = [f"flow-log={flows}", f"prometheus={metrics}", f"otlp={receiver.endpoint}"]
        words = [word for target in targets for word in ("--to", target)]
        done = replay(*objects, *words, "--speed", "20", *recorded)
    assert done.stdout == ""
    lines = [json.loads(line)["flow"] for line in flows.read_text().splitlines()]
    assert Counter(flow["l7"]["type"] for flow in lines) == {"REQUEST": 180, "RESPONSE": 180}
    assert len([span for span in receiver.spans if span.kind == 2]) == 180
    counted = [
        float(line.rpartition(" ")[2])
        for line in metrics.read_text().splitlines()
        if line.startswith("flowd_route_requests_total{")
    ]
    assert sum(counted) == 180
    again = replay(*objects, str(flows))
    assert len(again.stdout.splitlines()) == 360, "a line a flow"
