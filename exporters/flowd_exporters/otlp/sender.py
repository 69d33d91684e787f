"""CountingSpanExporter: the SDK's OTLP exporters with counts of sent and failed spans."""

import logging
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from flowd.errors import UsageError
from flowd.text import printable

log = logging.getLogger(__name__)

GRPC_PORT = 4317
HTTP_PORT = 4318
TRACES_PATH = "/v1/traces"
SDK_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)


class CountingSpanExporter(SpanExporter):
    """Wraps a SpanExporter and counts its sent and failed spans.

    The SDK exporter logs several lines a batch while the receiver is down. They are suppressed; one
    line is logged when export begins to fail, with the last of them as reason, and one when it
    works again.

    Attributes:
        sent, failed: numbers of spans; written by the processor's thread only.
        error: reason of the last batch's failure; "" after a success.
        on_exported: called in the processor's thread after each batch.
    """

    def __init__(self, inner: SpanExporter, endpoint: str) -> None:
        self.sent = 0
        self.failed = 0
        self.error = ""
        self.on_exported: Callable[[], None] = lambda: None
        self._inner = inner
        self._endpoint = endpoint
        self._stopped = False
        self._reason = ""
        for name in SDK_LOGGERS:
            # before the SDK's own filter, which hides repeated lines
            logging.getLogger(name).filters.insert(0, self._capture_reason)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch (SpanExporter)."""
        self._reason = ""
        result = SpanExportResult.FAILURE
        if not self._stopped:
            try:
                result = self._inner.export(spans)
            except Exception:
                log.exception("batch of spans left out", extra={"spans": len(spans)})
                self._reason = "a batch could not be encoded"
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
            self._set_error("")
        else:
            self.failed += len(spans)
            self._set_error(self._reason or "not sent before the end")
        self.on_exported()
        return result

    def shutdown(self) -> None:
        """Abort the batch in flight; later batches fail at once."""
        if self._stopped:
            return
        self._stopped = True
        self._inner.shutdown()
        for name in SDK_LOGGERS:
            logging.getLogger(name).removeFilter(self._capture_reason)

    def _set_error(self, error: str) -> None:
        if error and not self.error:
            log.warning(
                "spans cannot be delivered and are dropped",
                extra={"endpoint": self._endpoint, "reason": error},
            )
        elif self.error and not error:
            log.info("spans are delivered again", extra={"endpoint": self._endpoint})
        self.error = printable(error, 256)

    def _capture_reason(self, record: logging.LogRecord) -> bool:
        """A logging filter that keeps the message and suppresses the line."""
        self._reason = record.getMessage()
        return False


def span_exporter(endpoint: str, timeout: float) -> SpanExporter:
    """The SDK's exporter for an endpoint: HTTP on port 4318 or with a path, gRPC otherwise.

    Args:
        timeout: seconds for one batch, retries included.

    Raises:
        UsageError: the endpoint is no http or https URL, or has a user name in it.
    """
    text = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    if url.scheme not in ("http", "https") or not host or url.username is not None:
        shown = "the endpoint" if "@" in endpoint else repr(endpoint)
        raise UsageError(
            f"otlp: {shown} is no endpoint to send to",
            "write http://host:4317 for gRPC or http://host:4318 for HTTP; https for TLS",
        )
    path = url.path.rstrip("/")
    host = f"[{host}]" if ":" in host else host
    if port == HTTP_PORT or path:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter as HttpExporter,
        )

        path = path if path.endswith(TRACES_PATH) else path + TRACES_PATH
        suffix = f":{port}" if port else ""
        return HttpExporter(f"{url.scheme}://{host}{suffix}{path}", timeout=timeout)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
        OTLPSpanExporter as GrpcExporter,
    )

    target = f"{url.scheme}://{host}:{port or GRPC_PORT}"
    return GrpcExporter(target, insecure=url.scheme == "http", timeout=timeout)
