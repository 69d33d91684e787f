"""PrometheusExporter.run: the end of the queue, and batches that fail."""

import asyncio
import logging

import pytest

from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.runtime.queue import Queue
from flowd_exporters.prometheus.exporter import PrometheusExporter
from tests.support.exporter_batches import cluster, web_requests


def requests(exporter: PrometheusExporter) -> float:
    families = {family.name: family for family in exporter.collect()}
    return sum(sample.value for sample in families["flowd_route_requests"].samples)


async def test_it_runs_until_its_queue_is_closed_and_empty() -> None:
    losses = Losses()
    exporter = PrometheusExporter(cluster(), losses)
    queue = Queue[FlowBatch](exporter.name, 1000, losses)
    queue.put(web_requests(2))
    queue.put(web_requests(3))
    queue.close()
    await asyncio.wait_for(exporter.run(queue), 10)
    assert requests(exporter) == 5
    assert losses.total() == 0


async def test_a_batch_that_cannot_be_counted_is_lost_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    losses = Losses()
    exporter = PrometheusExporter(cluster(), losses)
    queue = Queue[FlowBatch](exporter.name, 1000, losses)
    bad = web_requests(4)
    bad.requests["route"] = 99
    queue.put(bad)
    queue.put(web_requests(3))
    queue.close()
    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(exporter.run(queue), 10)
    assert requests(exporter) == 3
    assert losses.snapshot()[Place.EXPORT, "prometheus"] == 4
    assert [record.getMessage() for record in caplog.records] == ["batch left out"]
