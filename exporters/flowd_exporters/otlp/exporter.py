"""OtlpExporter: send one span an HTTP request over OTLP, with the SDK's BatchSpanProcessor."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

from opentelemetry.sdk.trace.export import BatchSpanProcessor

from flowd.model.directory import Directory
from flowd.model.enums import EntryKind
from flowd.model.losses import Losses, Place
from flowd.model.records.batch import FlowBatch
from flowd.model.route import RouteRef
from flowd.model.status import PartStatus, State
from flowd.runtime.queue import Queue
from flowd_exporters.base import consume, final_entries
from flowd_exporters.otlp.sender import CountingSpanExporter, span_exporter
from flowd_exporters.otlp.spans import SpanBuilder

QUEUE_SPANS = 8192
BATCH_SPANS = 512
EXPORT_SECONDS = 10.0
DELAY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
FULL = "otlp_queue_full"
FAILED = "otlp_failed"


class OtlpExporter:
    """Sends a span for every HTTP request to an OTLP receiver.

    At most 8192 spans are queued. Spans that find the queue full or cannot be sent are counted
    (place `export`, reasons `otlp_queue_full` and `otlp_failed`).

    Args:
        endpoint: `http://host:4317` or `https://host:4317` for gRPC; port 4318 or a path, as in
            `http://host:4318/v1/traces`, for HTTP with protobuf. Headers, certificates and
            compression come from the SDK's OTEL_EXPORTER_OTLP_* variables.
        ratio: share of the requests without traceparent that get a span, 0 to 1.
        unsampled: make spans also for requests whose traceparent is not sampled.
        template: `http.route` of a route: path of its match (Exact or PathPrefix), "" if unknown.
        timeout: seconds for one batch, retries included.

    Raises:
        UsageError: the endpoint has another form.
    """

    name = "otlp"

    def __init__(
        self,
        directory: Directory,
        losses: Losses,
        *,
        endpoint: str,
        ratio: float = 1.0,
        unsampled: bool = False,
        template: Callable[[RouteRef], str] = lambda route: "",
        timeout: float = EXPORT_SECONDS,
    ) -> None:
        self._losses = losses
        self._builder = SpanBuilder(
            directory,
            ratio=ratio,
            unsampled=unsampled,
            template=template,
        )
        self._endpoint = endpoint
        self._sender = CountingSpanExporter(span_exporter(endpoint, timeout), endpoint)
        self._processor = BatchSpanProcessor(
            self._sender,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=DELAY_SECONDS * 1000,
            max_export_batch_size=BATCH_SPANS,
        )
        self._enqueued = 0
        losses.add(Place.EXPORT, FULL, 0)
        losses.add(Place.EXPORT, FAILED, 0)

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Send spans until the queue is closed and empty; then flush for at most 5 s."""
        loop = asyncio.get_running_loop()

        def update_losses() -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended before the last batch
                loop.call_soon_threadsafe(self._update_losses)

        self._sender.on_exported = update_losses
        try:
            await consume(self.name, batches, self.observe, self._losses)
        finally:
            await self._close()

    def observe(self, batch: FlowBatch) -> None:
        """Enqueue the spans of one batch; spans without room are dropped and counted."""
        requests = final_entries(batch.requests, EntryKind.HTTP)
        if not len(requests):
            return
        room = QUEUE_SPANS - self._pending()
        dropped = 0
        for span in self._builder.build(requests):
            if room:
                room -= 1
                self._enqueued += 1
                self._processor.on_end(span)
            else:
                dropped += 1
        self._losses.add(Place.EXPORT, FULL, dropped)

    def flush(self, seconds: float) -> None:
        """Send the queued spans, for at most `seconds`."""
        self._processor.force_flush(int(seconds * 1000))

    def status(self) -> list[PartStatus]:
        """Whether the last batch was delivered."""
        detail = f"{self._endpoint}, {self._sender.sent} spans sent"
        if self._sender.error:
            return [PartStatus(self.name, State.DEGRADED, f"{detail}; {self._sender.error}")]
        return [PartStatus(self.name, State.ON, detail)]

    def _pending(self) -> int:
        return self._enqueued - self._sender.sent - self._sender.failed

    def _update_losses(self) -> None:
        self._losses.set_total(Place.EXPORT, FAILED, self._sender.failed)

    async def _close(self) -> None:
        """Flush; spans left at the deadline fail.

        The shutdown runs in a daemon thread, which cannot block the exit of the process.
        """
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def shutdown() -> None:
            self._processor.shutdown()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=shutdown, name="otlp-close", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await closed.wait()
        except TimeoutError:
            self._sender.shutdown()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await closed.wait()
        self._losses.set_total(Place.EXPORT, FAILED, self._sender.failed + self._pending())
