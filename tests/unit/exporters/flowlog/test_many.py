"""Several flow logs: filters, masks, the configuration file, statuses and health."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowd.errors import UsageError
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.records.flow import FlowRows
from flowd.model.status import State
from flowd.runtime.queue import Queue
from flowd_exporters.flowlog.config import FlowLogSpec, parse_config, static_log
from flowd_exporters.flowlog.exporter import FlowLogExporter
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.flow_samples import SAMPLES, batch, cluster, random_rows, sample_rows
from tests.support.hubble_server import eventually

Put = Callable[[FlowRows], None]


def describe(config: Path, *logs: dict[str, Any]) -> Path:
    config.write_text(yaml.safe_dump({"flowLogs": list(logs)}))
    return config


def lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines: the last one may be unfinished while it is written."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


@asynccontextmanager
async def running(exporter: FlowLogExporter) -> AsyncGenerator[Put]:
    queue = Queue[FlowBatch]("flowlog", 10**6, Losses())
    task = asyncio.create_task(exporter.run(queue))
    try:
        yield lambda rows: queue.put(batch(rows))
    finally:
        queue.close()
        await task


def static(path: Path, **more: Any) -> FlowLogSpec:
    settings: dict[str, Any] = {"allowlist": "", "denylist": "", "field_mask": ()} | more
    return static_log(str(path), **settings, max_size=1 << 20, max_backups=5, compress=False)


async def test_filters_and_mask_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "events.log"
    spec = static(
        path,
        allowlist='{"protocol":["tcp"]}, {"protocol":["udp"]}',
        denylist='{"verdict":["DROPPED"]} {"event_type":[{"type":129}]}',
        field_mask=("time", "source.pod_name", "l4.TCP.destination_port"),
    )
    async with running(FlowLogExporter(cluster(), Losses(), [spec])) as put:
        put(sample_rows())
    written = lines(path)
    assert [line["flow"].get("source", {}).get("pod_name") for line in written] == [
        "web-7f",
        "cart-0",
        *["web-7f"] * 4,
    ]
    assert written[0] == {
        "flow": {
            "time": "2026-11-21T09:15:00Z",
            "l4": {"TCP": {"destination_port": 8080}},
            "source": {"pod_name": "web-7f"},
        },
        "node_name": "node-a",
        "time": "2026-11-21T09:15:00Z",
    }


async def test_expressions_among_the_filters(tmp_path: Path) -> None:
    path = tmp_path / "cel.log"
    allowlist = '{"experimental":{"cel_expression":["_flow.l7.http.code >= 500u"]}}'
    spec = static(path, allowlist=allowlist)
    async with running(FlowLogExporter(cluster(), Losses(), [spec])) as put:
        put(random_rows(3000, 1))
    codes = [line["flow"]["l7"]["http"]["code"] for line in lines(path)]
    assert len(codes) > 10
    assert min(codes) >= 500


async def test_entries_of_the_file_run_come_change_and_go(tmp_path: Path) -> None:
    config = tmp_path / "logs.yaml"
    paths = {name: tmp_path / f"{name}.log" for name in ("all", "drops", "dns", "moved")}
    kept = {"name": "all", "filePath": str(paths["all"])}
    drops = {
        "name": "drops",
        "filePath": str(paths["drops"]),
        "includeFilters": [{"verdict": ["DROPPED"]}],
    }
    dns = {"name": "dns", "filePath": str(paths["dns"]), "excludeFilters": [{"protocol": ["tcp"]}]}
    exporter = FlowLogExporter(
        cluster(), Losses(), config=describe(config, kept, drops), reload_seconds=0.02
    )

    def written(*names: str) -> list[int]:
        return [paths[name].read_bytes().count(b"\n") for name in names]

    async with running(exporter) as put:
        put(sample_rows())
        await eventually(lambda: written("all", "drops") == [len(SAMPLES), 1])
        assert [line["flow"]["verdict"] for line in lines(paths["drops"])] == ["DROPPED"]
        open_before = open_descriptors(paths["all"])
        fresh = tmp_path / "fresh"
        describe(fresh, kept, {**drops, "filePath": str(paths["moved"])}, dns).replace(config)
        await eventually(paths["dns"].exists)
        assert open_descriptors(paths["all"]) == open_before
        assert not open_descriptors(paths["drops"])
        put(sample_rows("drop", "dns"))
        await eventually(
            lambda: written("all", "drops", "moved", "dns") == [len(SAMPLES) + 2, 1, 1, 1]
        )
        describe(config)
        await eventually(lambda: not list(exporter.health()))
        assert not open_descriptors(paths["all"])


def open_descriptors(path: Path) -> list[str]:
    """Number of this process's open descriptors of a file."""
    links = {fd: os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    return [fd for fd, target in links.items() if target == str(path.resolve())]


async def test_an_entry_stops_at_its_end(tmp_path: Path) -> None:
    path, past = tmp_path / "a.log", tmp_path / "past.log"
    soon = datetime.fromtimestamp(time.time() + 1, UTC).isoformat()
    config = describe(
        tmp_path / "logs.yaml",
        {"name": "a", "filePath": str(path), "end": soon},
        {"name": "past", "filePath": str(past), "end": "2020-01-01T00:00:00Z"},
    )
    exporter = FlowLogExporter(cluster(), Losses(), config=config, reload_seconds=0.02)
    assert not past.exists()
    async with running(exporter) as put:
        assert open_descriptors(path)
        await eventually(lambda: not open_descriptors(path))
        before = path.read_bytes()
        put(sample_rows())
        config.touch()
        await asyncio.sleep(0.1)
    assert path.read_bytes() == before
    assert not list(exporter.health())


async def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    config, path = tmp_path / "logs.yaml", tmp_path / "a.log"
    entry = {"name": "a", "filePath": str(path)}
    exporter = FlowLogExporter(
        cluster(), Losses(), config=describe(config, entry), reload_seconds=0.02
    )
    async with running(exporter) as put:
        config.write_text("flowLogs: [")
        await eventually(lambda: exporter.status()[0].state is State.DEGRADED)
        assert "not YAML" in exporter.status()[0].detail
        put(sample_rows("syn"))
        await eventually(lambda: path.read_bytes().count(b"\n") == 1)
        config.unlink()
        await eventually(lambda: "cannot read" in exporter.status()[0].detail)
        describe(config, entry, {"name": "b", "filePath": str(tmp_path / "no" / "b.log")})
        await eventually(lambda: exporter.status()[0].state is State.ON)
        assert [(one.name, one.up) for one in exporter.health()] == [("a", True), ("b", False)]
        (tmp_path / "no").mkdir()
        put(sample_rows("dns"))
        await eventually(lambda: all(one.up for one in exporter.health()))


async def test_a_full_disk_shows_in_metrics_and_status_and_costs_only_its_own(
    tmp_path: Path,
) -> None:
    losses = Losses()
    good = tmp_path / "good.log"
    exporter = FlowLogExporter(
        cluster(), losses, [FlowLogSpec("full", Path("/dev/full")), FlowLogSpec("good", good)]
    )
    prometheus = PrometheusExporter(cluster(), losses, flow_logs=exporter.health)

    def metric(name: str) -> dict[str, float]:
        [family] = [one for one in prometheus.collect() if one.name == name]
        return {sample.labels["flow_log"]: sample.value for sample in family.samples}

    assert metric("flowd_flow_log_last_write_seconds") == {"full": 0, "good": 0}
    began = time.time()
    async with running(exporter) as put:
        put(sample_rows())
        await eventually(lambda: losses.snapshot()[Place.EXPORT, "flowlog"] == len(SAMPLES))
        await eventually(lambda: len(lines(good)) == len(SAMPLES))
    assert metric("flowd_flow_log_up") == {"full": 0, "good": 1}
    assert metric("flowd_flow_log_behind_seconds")["good"] == 0
    assert metric("flowd_flow_log_behind_seconds")["full"] > 0
    written = metric("flowd_flow_log_last_write_seconds")
    assert written["full"] == 0
    assert written["good"] >= began
    summary, full, well = exporter.status()
    assert (summary.part, summary.state, summary.detail) == ("flowlog", State.ON, "2 logs")
    assert (full.state, full.detail) == (State.DEGRADED, f"/dev/full, 0 lines, {len(SAMPLES)} lost")
    assert (well.part, well.detail) == ("flowlog/good", f"{good}, {len(SAMPLES)} lines, 0 lost")


BAD = [
    ("flowLogs: {", "not YAML"),
    ("flowLog: []", "flowLog"),
    ("flowLogs: [{name: a}]", "filePath"),
    ("flowLogs: [{name: a, filePath: /x, colour: red}]", "colour"),
    ("flowLogs: [{name: a, filePath: /x, fieldMask: [sauce]}]", "sauce"),
    ("flowLogs: [{name: a, filePath: /x, includeFilters: [{sauce: [a]}]}]", "sauce"),
    ("flowLogs: [{name: a, filePath: /x, end: '2026-01-01T00:00:00'}]", "end"),
    ("flowLogs: [{name: a, filePath: /x}, {name: a, filePath: /y}]", "name 'a' is taken"),
    ("flowLogs: [{name: a, filePath: /x}, {name: b, filePath: /x}]", "filePath '/x' is taken"),
    ("flowLogs: [{name: static, filePath: /x}]", "'static' is taken"),
    ("[1]", "Expected `object`"),
    ("flowLogs: [{name: a, filePath: /x, fieldAggregate: [source]}]", "need each other"),
    ("flowLogs: [{name: a, filePath: /x, aggregationInterval: 5s}]", "need each other"),
    (
        "flowLogs: [{name: a, filePath: /x, fieldAggregate: [sauce], aggregationInterval: 5s}]",
        "'sauce'",
    ),
    (
        "flowLogs: [{name: a, filePath: /x, fieldAggregate: [time], aggregationInterval: soon}]",
        "'soon'",
    ),
]


@pytest.mark.parametrize(("text", "named"), BAD, ids=[named for _, named in BAD])
def test_a_bad_file_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_config(Path("logs.yaml"), text.encode())
    assert "logs.yaml" in caught.value.message
    assert named in caught.value.message


def test_an_empty_file_is_no_log() -> None:
    assert parse_config(Path("logs.yaml"), b"") == []
    assert parse_config(Path("logs.yaml"), b"flowLogs: []\n") == []


def test_every_key_of_hubble_is_read() -> None:
    text = b"""
flowLogs:
- name: drops
  filePath: /var/log/drops.log
  fieldMask: [time, source]
  includeFilters: [{verdict: [DROPPED]}]
  excludeFilters: [{source_pod: ["monitoring/"]}]
  fieldAggregate: [source, verdict]
  aggregationInterval: 1m30s
  fileMaxSizeMb: 20
  fileMaxBackups: 3
  fileCompress: true
  end: 2026-12-31T00:00:00Z
"""
    [spec] = parse_config(Path("logs.yaml"), text)
    assert (spec.name, str(spec.path), spec.fields) == (
        "drops",
        "/var/log/drops.log",
        ("time", "source"),
    )
    assert (spec.max_size, spec.max_backups, spec.compress) == (20 << 20, 3, True)
    assert spec.end == datetime(2026, 12, 31, tzinfo=UTC).timestamp()
    assert list(spec.exclude[0].source_pod) == ["monitoring/"]
    assert (spec.aggregate, spec.interval) == (("source", "verdict"), 90.0)


def test_zeros_of_hubble_mean_its_defaults() -> None:
    text = b"""
flowLogs:
- name: plain
  filePath: /var/log/plain.log
  fieldMask: []
  fieldAggregate: []
  aggregationInterval: 0s
  fileMaxSizeMb: 0
  fileMaxBackups: 0
"""
    [spec] = parse_config(Path("logs.yaml"), text)
    assert spec == FlowLogSpec("plain", Path("/var/log/plain.log"))


@pytest.mark.parametrize(
    "settings",
    [{"allowlist": "{"}, {"denylist": '{"sauce":[]}'}, {"field_mask": ("sauce",)}],
    ids=str,
)
def test_bad_settings_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        static(tmp_path / "x", **settings)


def test_two_logs_cannot_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    config = describe(tmp_path / "logs.yaml", {"name": "a", "filePath": str(path)})
    with pytest.raises(UsageError, match="taken"):
        FlowLogExporter(cluster(), Losses(), [static(path)], config)
