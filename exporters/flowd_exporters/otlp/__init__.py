"""Traces over OTLP: one OpenTelemetry span an HTTP request.

Request rows come from the exporter's queue (`exporter`), become spans (`spans`, `span_attributes`)
and go through the SDK's BatchSpanProcessor to a receiver (`sender`). Imports flowd's model, `base`,
`label_values`, `trace_context` and the OpenTelemetry SDK; no other exporter.
"""
