"""Access-log files followed: rotation, truncation, partial and wrapped lines, restarts."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flowd.accesslog.lines_to_rows import MAX_LINE
from flowd.capture.logs import files
from flowd.capture.logs.files import FileSource
from flowd.model.losses import Losses, Place
from flowd.model.status import State
from flowd.runtime.queue import Queue

if TYPE_CHECKING:
    from flowd.model.records.request import RequestBatch


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(files, "SCAN_SECONDS", 0.005)
    monkeypatch.setattr(files, "LINGER_SECONDS", 0.2)


def entry(path: str) -> str:
    return json.dumps({"duration": 1, "response_code": 200, "path": path})


def append(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("".join(line + end for line in lines))


class Followed:
    """A running FileSource and the request paths of its rows."""

    def __init__(self, source: FileSource, losses: Losses, rows: int = 100_000) -> None:
        self.source, self.losses = source, losses
        self.queue: Queue[RequestBatch] = Queue("requests", rows, losses)
        self.seen: list[str] = []

    def collect(self) -> list[str]:
        for batch in self.queue.take():
            self.seen += batch["path"].tolist()
        return self.seen

    async def until(self, *paths: str) -> None:
        """Wait for exactly these request paths."""
        await eventually(lambda: len(self.collect()) >= len(paths))
        assert sorted(self.collect()) == sorted(paths)


async def eventually(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not met():  # noqa: ASYNC110 - the condition depends on a file
            await asyncio.sleep(0.005)


@asynccontextmanager
async def following(
    *paths: object, state: object = "", rows: int = 100_000
) -> AsyncGenerator[Followed]:
    losses = Losses()
    source = FileSource([str(path) for path in paths], losses, state_dir=str(state))
    followed = Followed(source, losses, rows)
    task = asyncio.create_task(source.run(followed.queue))
    try:
        await asyncio.sleep(0)
        yield followed
    finally:
        task.cancel()
        await asyncio.wait([task])
        await source.close()
        followed.collect()


async def test_only_what_is_written_from_now_on(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, entry("/old"))
    async with following(log) as followed:
        append(log, entry("/a"), entry("/b"))
        await followed.until("/a", "/b")
        assert followed.source.status()[0].state == State.ON


async def test_a_file_that_comes_later_and_lines_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "later.log"
    async with following(log) as followed:
        whole = entry("/a")
        append(log, whole[:10], end="")
        await asyncio.sleep(0.05)
        append(log, whole[10:])
        await followed.until("/a")


async def test_rotation_by_rename_loses_and_repeats_nothing(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    async with following(log) as followed:
        with log.open("a") as old:
            old.write(entry("/1") + "\n")
            old.flush()
            os.rename(log, tmp_path / "access.log.1")
            append(log, entry("/3"))
            await eventually(lambda: "/3" in followed.collect())
            old.write(entry("/2") + "\n")  # Envoy reopens the file only on request
            old.flush()
            await followed.until("/1", "/2", "/3")
        append(log, entry("/4"))
        await followed.until("/1", "/2", "/3", "/4")
        await eventually(lambda: "files 1" in followed.source.status()[0].detail)


async def test_truncation_starts_the_file_again(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    async with following(log) as followed:
        append(log, entry("/1-long-enough"), entry("/2"))
        await followed.until("/1-long-enough", "/2")
        os.truncate(log, 0)
        append(log, entry("/3"), entry("/4-and-more-than-there-was-before-" + "x" * 200))
        await eventually(lambda: len(followed.collect()) == 4)
        assert followed.seen[2] == "/3"


async def test_globs_over_container_runtimes_files(tmp_path: Path) -> None:
    pod = tmp_path / "infra_envoy-0_uid" / "envoy"
    pod.mkdir(parents=True)
    async with following(tmp_path / "*" / "envoy" / "*.log") as followed:
        whole = entry("/cri")
        stamp = "2026-11-21T08:14:05.123456789Z stdout"
        append(pod / "0.log", f"{stamp} P {whole[:20]}", f"{stamp} F {whole[20:]}")
        append(pod / "1.log", json.dumps({"log": entry("/docker") + "\n", "stream": "stdout"}))
        append(
            pod / "0.log", "2026-11-21T08:14:05.1Z stderr F [2026-11-21 08:14:05.123][1][info] up"
        )
        await followed.until("/cri", "/docker")
        assert not followed.losses.total()


async def test_an_overlong_line_is_cut_and_counted(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    async with following(log) as followed:
        append(log, '{"path": "' + "x" * (3 * MAX_LINE), entry("/after"))
        await followed.until("/after")
        counts = followed.losses.snapshot()
        assert counts[Place.ACCESS_LOG, "line_too_long"] == 1
        assert counts[Place.ACCESS_LOG, "malformed_json"] == 1


async def test_the_position_is_kept_across_restarts(tmp_path: Path) -> None:
    log, state = tmp_path / "access.log", tmp_path / "state"
    log.touch()
    async with following(log, state=state) as first:
        append(log, entry("/1"))
        append(log, entry("/2")[:5], end="")
        await first.until("/1")
    append(log, entry("/2")[5:])
    append(log, entry("/3"))
    async with following(log, state=state) as second:
        await second.until("/2", "/3")
    os.rename(log, tmp_path / "access.log.1")
    append(log, entry("/4"))
    async with following(log, state=state) as third:
        await third.until("/4")


async def test_a_file_renamed_while_no_agent_ran_is_read_to_its_end(tmp_path: Path) -> None:
    log, state = tmp_path / "access.log", tmp_path / "state"
    log.touch()
    async with following(tmp_path / "access.log*", state=state) as first:
        append(log, entry("/1"))
        await first.until("/1")
    append(log, entry("/2"))
    os.rename(log, tmp_path / "access.log.1")
    append(log, entry("/3"))
    async with following(tmp_path / "access.log*", state=state) as second:
        await second.until("/2", "/3")


async def test_positions_that_make_no_sense_count_as_none(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    append(log, entry("/old"))
    (tmp_path / "access-log-positions.json").write_text('{"x": [1, "a"')
    async with following(log, state=tmp_path) as followed:
        append(log, entry("/a"))
        await followed.until("/a")


async def test_a_reader_that_does_not_keep_up_leaves_the_rest_in_the_file(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    async with following(log, rows=1000) as followed:
        for part in range(10):
            append(log, *(entry(f"/{part}/{i}") for i in range(3000)))
            await asyncio.sleep(0.02)
        await eventually(lambda: len(followed.collect()) == 30_000)
        assert not followed.losses.total()


async def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    async with following(tmp_path) as followed:
        await eventually(lambda: followed.source.status()[0].state == State.DEGRADED)
        assert "not a regular file" in followed.source.status()[0].detail
