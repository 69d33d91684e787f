"""FlowAggregator and aggregating flow logs: groups, intervals, and logs that cannot be written."""

import asyncio
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.flow import FlowRows
from flowd.runtime.queue import Queue
from flowd_exporters.flowlog import aggregate
from flowd_exporters.flowlog.config import FlowLogSpec
from flowd_exporters.flowlog.exporter import FlowLogExporter
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import batch, cluster, random_rows, sample_rows
from tests.support.hubble_server import eventually

FIELDS = ("verdict", "source.pod_name", "destination.pod_name")
LOST = (Place.EXPORT, "flowlog")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *batches: FlowRows, interval: float = 3600.0) -> int:
    """Write batches to an aggregating log until it ends; returns how many flows were lost."""
    losses = Losses()
    spec = FlowLogSpec("static", path, aggregate=FIELDS, interval=interval)
    exporter = FlowLogExporter(cluster(), losses, [spec])
    queue = Queue[FlowBatch]("flowlog", 10**6, losses)
    for rows in batches:
        queue.put(batch(rows))
    queue.close()
    asyncio.run(exporter.run(queue))
    return losses.snapshot()[LOST]


def counts(line: dict[str, Any]) -> tuple[int, int, int]:
    counted = line["flow"]["aggregate"]
    names = ("ingress_flow_count", "egress_flow_count", "unknown_direction_flow_count")
    return tuple(counted.get(name, 0) for name in names)  # type: ignore[return-value]


def test_a_group_is_its_fields_its_first_time_and_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "flows.log"
    assert write(path, sample_rows("syn", "synack"), sample_rows("syn")) == 0
    forward, reverse = lines(path)
    assert forward == {
        "flow": {
            "time": "2026-11-21T09:15:00Z",
            "verdict": "FORWARDED",
            "source": {"pod_name": "web-7f"},
            "destination": {"pod_name": "cart-0"},
            "aggregate": {"egress_flow_count": 2},
        },
        "node_name": "node-a",
        "time": "2026-11-21T09:15:00Z",
    }
    assert counts(reverse) == (1, 0, 0)


def test_the_counts_are_those_of_the_flows(tmp_path: Path) -> None:
    path = tmp_path / "flows.log"
    rows = random_rows(2000, 7)
    assert write(path, rows[:900], rows[900:]) == 0
    expected = Counter(
        (flow.verdict, flow.source.pod_name, flow.destination.pod_name)
        for flow in FlowEncoder(cluster()).encode(rows)
    )
    written = lines(path)
    assert sorted(sum(counts(line)) for line in written) == sorted(expected.values())
    assert len(written) < 300


def test_too_many_groups_are_written_before_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate, "MAX_GROUPS", 2)
    path = tmp_path / "flows.log"
    assert write(path, sample_rows(), sample_rows("syn")) == 0
    written = lines(path)
    alike = [line for line in written if counts(line) and line["flow"] == written[-1]["flow"]]
    assert len(written) > 3
    assert alike[-1]["flow"]["aggregate"] == {"egress_flow_count": 1}


async def test_groups_are_written_when_the_interval_is_over(tmp_path: Path) -> None:
    path = tmp_path / "flows.log"
    spec = FlowLogSpec("static", path, aggregate=FIELDS, interval=0.05)
    exporter = FlowLogExporter(cluster(), Losses(), [spec])
    queue = Queue[FlowBatch]("flowlog", 10**6, Losses())
    task = asyncio.create_task(exporter.run(queue))
    try:
        queue.put(batch(sample_rows("syn")))
        await eventually(lambda: len(lines(path)) == 1)
        queue.put(batch(sample_rows("syn")))
        await eventually(lambda: len(lines(path)) == 2)
    finally:
        queue.close()
        await task


def test_lost_groups_are_counted_in_flows() -> None:
    assert write(Path("/dev/full"), sample_rows("syn", "synack"), sample_rows("syn")) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_is_full_for_a_while(small_disk: Path) -> None:
    path, ballast = small_disk / "flows.log", small_disk / "ballast"
    losses = Losses()
    exporter = FlowLogExporter(cluster(), losses, [FlowLogSpec("static", path)])
    queue = Queue[FlowBatch]("flowlog", 10**6, losses)
    task = asyncio.create_task(exporter.run(queue))

    def health() -> tuple[bool, bool]:
        [one] = exporter.health()
        return one.up, one.behind > 0

    try:
        queue.put(batch(sample_rows("syn")))
        await eventually(lambda: path.read_bytes().count(b"\n") == 1)
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(1 << 20))
        queue.put(batch(random_rows(400, 3)))
        await eventually(lambda: losses.snapshot()[LOST] > 300)
        await eventually(lambda: health() == (False, True))
        ballast.unlink()
        queue.put(batch(sample_rows("dns")))
        await eventually(lambda: health() == (True, False))
    finally:
        queue.close()
        await task
    written = lines(path)
    assert len(written) + losses.snapshot()[LOST] == 402
    assert "UDP" in written[-1]["flow"]["l4"]


def test_standard_output_can_be_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    assert write(Path("stdout"), sample_rows("syn")) == 0
    assert json.loads(capfd.readouterr().out)["flow"]["verdict"] == "FORWARDED"
