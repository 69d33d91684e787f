"""Traces over OTLP: one span an HTTP request, through the OpenTelemetry SDK's batch processor."""

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
from flowd_exporters.base import consume, final
from flowd_exporters.otlp.sender import Sender, span_exporter
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

    At most 8192 spans wait. While the receiver cannot be reached, spans are dropped and counted
    (place `export`, reasons `otlp_queue_full` and `otlp_failed`).

    Args:
        endpoint: `http://host:4317` or `https://host:4317` for gRPC; port 4318 or a path, as in
            `http://host:4318/v1/traces`, for HTTP with protobuf. Headers, certificates and
            compression come from the SDK's OTEL_EXPORTER_OTLP_* variables.
        ratio: share of the requests without traceparent that get a span, 0 to 1.
        unsampled: make spans also where the traceparent says that the trace is not sampled.
        template: the path of a route's match (Exact or PathPrefix value), "" when not known.
        timeout: seconds for one batch, retries included.

    Raises:
        UsageError: the endpoint is not such a URL.
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
        self._sender = Sender(span_exporter(endpoint, timeout), endpoint)
        self._processor = BatchSpanProcessor(
            self._sender,
            max_queue_size=QUEUE_SPANS,
            schedule_delay_millis=DELAY_SECONDS * 1000,
            max_export_batch_size=BATCH_SPANS,
        )
        self._handed = 0
        losses.add(Place.EXPORT, FULL, 0)
        losses.add(Place.EXPORT, FAILED, 0)

    async def run(self, batches: Queue[FlowBatch]) -> None:
        """Send spans until the queue is closed and empty; then flush, for 5 s at most."""
        loop = asyncio.get_running_loop()

        def account() -> None:
            with contextlib.suppress(RuntimeError):  # the loop ended before the last batch
                loop.call_soon_threadsafe(self._account)

        self._sender.done = account
        try:
            await consume(self.name, batches, self.observe, self._losses)
        finally:
            await self._close()

    def observe(self, batch: FlowBatch) -> None:
        """Hand the spans of one batch to the processor, as far as there is room."""
        requests = final(batch.requests, EntryKind.HTTP)
        if not len(requests):
            return
        room = QUEUE_SPANS - self._pending()
        dropped = 0
        for span in self._builder.build(requests):
            if room:
                room -= 1
                self._handed += 1
                self._processor.on_end(span)
            else:
                dropped += 1
        self._losses.add(Place.EXPORT, FULL, dropped)

    def flush(self, seconds: float) -> None:
        """Send what waits, for so many seconds at most."""
        self._processor.force_flush(int(seconds * 1000))

    def status(self) -> list[PartStatus]:
        """Whether the receiver takes spans."""
        detail = f"{self._endpoint}, {self._sender.sent} spans sent"
        if self._sender.error:
            return [PartStatus(self.name, State.DEGRADED, f"{detail}; {self._sender.error}")]
        return [PartStatus(self.name, State.ON, detail)]

    def _pending(self) -> int:
        return self._handed - self._sender.sent - self._sender.failed

    def _account(self) -> None:
        self._losses.put(Place.EXPORT, FAILED, self._sender.failed)

    async def _close(self) -> None:
        """Flush; past the deadline what is left fails. Daemon threads cannot hold up the exit."""
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
        self._losses.put(Place.EXPORT, FAILED, self._sender.failed + self._pending())
