"""A flow log's lines and rotation, and write errors."""

import asyncio
import gzip
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.flow import FlowRows
from flowd.runtime.queue import Queue
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import ExportEvent
from flowd_exporters.flowlog.config import FlowLogSpec
from flowd_exporters.flowlog.exporter import FlowLogExporter
from flowd_exporters.flowlog.rotate import RotatingFile
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import SAMPLES, batch, cluster, random_rows, sample_rows
from tests.support.hubble_server import eventually

LOST = (Place.EXPORT, "flowlog")


def write(
    path: Path,
    *batches: FlowRows,
    max_size: int = 1 << 20,
    max_backups: int = 5,
    compress: bool = False,
    between: Callable[[], None] = lambda: None,
) -> int:
    """Write batches one after the other; returns how many flows were lost."""
    losses = Losses()
    spec = FlowLogSpec(
        "static", path, max_size=max_size, max_backups=max_backups, compress=compress
    )
    exporter = FlowLogExporter(cluster(), losses, [spec])
    queue = Queue[FlowBatch]("flowlog", 10**6, losses)

    async def run() -> None:
        running = asyncio.create_task(exporter.run(queue))
        for rows in batches[:-1]:
            queue.put(batch(rows))
            await holds(path, len(rows))
            between()
        queue.put(batch(batches[-1]))
        queue.close()
        await running

    asyncio.run(run())
    return losses.snapshot()[LOST]


async def holds(path: Path, lines: int) -> None:
    await eventually(lambda: path.read_bytes().count(b"\n") == lines)


def times(path: Path) -> list[str]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line)["time"] for line in data.splitlines()]


def test_lines_are_export_events(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    rows = sample_rows()
    assert write(path, rows) == 0
    expected = [
        flow_to_json(ExportEvent(flow=flow, node_name=flow.node_name, time=flow.time))
        for flow in FlowEncoder(cluster()).encode(rows)
    ]
    assert path.read_text().splitlines() == expected
    assert path.stat().st_mode & 0o777 & ~0o644 == 0


def test_the_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    path.write_text('{"cut off')
    write(path, sample_rows("syn"))
    write(path, sample_rows("dns"))
    lines = path.read_text().splitlines()
    assert lines[0] == '{"cut off'
    assert ["TCP" in lines[1], "UDP" in lines[2]] == [True, True]


@pytest.mark.parametrize("compress", [False, True])
def test_rotation_keeps_whole_lines_and_the_newest_backups(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "events.log"
    stranger = tmp_path / "events-old.log"
    stranger.write_text("mine")
    rows = random_rows(600, 5)
    assert write(path, rows, max_size=60_000, max_backups=2, compress=compress) == 0
    backups = sorted(tmp_path.glob("events-2*"))
    assert [one.name.endswith(".log.gz") for one in backups] == [compress, compress]
    assert not list(tmp_path.glob("*.part"))
    files = [*backups, path]
    kept = [moment for file in files for moment in times(file)]
    written = [json.loads(one)["time"] for one in _events(rows)]
    assert kept == written[-len(kept) :]
    assert len(kept) < 600
    sizes = [
        len(gzip.decompress(b.read_bytes())) if compress else b.stat().st_size for b in backups
    ]
    assert all(50_000 < size <= 60_000 for size in sizes)
    assert stranger.read_text() == "mine"


def _events(rows: FlowRows) -> list[str]:
    flows = FlowEncoder(cluster()).encode(rows)
    return [flow_to_json(ExportEvent(time=flow.time)) for flow in flows]


def test_all_backups_are_kept_when_none_are_limited(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    rows = random_rows(300, 6)
    assert write(path, rows, max_size=20_000, max_backups=0) == 0
    files = sorted(tmp_path.glob("flows-*"))
    assert len(files) > 5
    assert sum(len(times(file)) for file in [*files, path]) == 300


def test_a_line_longer_than_the_file_is_still_written(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    assert write(path, sample_rows(), max_size=10, max_backups=0) == 0
    assert len(list(tmp_path.iterdir())) == len(SAMPLES)


def test_a_full_disk_is_counted_and_survived() -> None:
    assert write(Path("/dev/full"), random_rows(300, 1)) == 300


def test_writing_resumes_when_there_is_room_again_and_no_half_line_stays(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    lines = [f'{{"n":{number:04d}}}\n'.encode() for number in range(100)]
    file = RotatingFile(path, 1 << 20, 0, False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (155, limits[1]))
    try:
        assert file.write(lines[:10]) == (10, None)
        written, error = file.write(lines[10:])
        assert (written, error is not None) == (0, True)
        assert path.read_bytes() == b"".join(lines[:10])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.write(lines[10:]) == (90, None)
    file.close()
    assert path.read_bytes() == b"".join(lines)


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    moved = tmp_path / "moved"
    first, second = sample_rows("syn", "dns"), sample_rows("ping")
    assert write(path, first, second, between=lambda: os.rename(path, moved)) == 0
    assert len(times(moved)) == 2
    assert len(times(path)) == 1


def test_a_folder_that_vanishes_costs_flows_and_not_the_agent(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "events.log"

    def vanish() -> None:
        path.unlink()
        folder.rmdir()

    assert write(path, sample_rows("syn"), sample_rows(), between=vanish) == len(SAMPLES)


@pytest.mark.parametrize("name", ["none/events.log", "."])
def test_a_path_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="flow log"):
        FlowLogExporter(cluster(), Losses(), [FlowLogSpec("static", tmp_path / name)])
