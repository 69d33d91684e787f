"""Prometheus metrics: counters over batches, and the HTTP server of /metrics.

`metric_definitions` is the table of metrics with their labels. Each of `traffic`, `drops`,
`sockets`, `dns`, `routes`, `shares` and `hubble` counts one kind of record into `series` and
`histogram`, and makes its `families`; `exporter` feeds them, adds the agent's own metrics and
collects everything in the table's order. Imports flowd's model, `base`, `label_values` and
`trace_context`; no other exporter. docs/metrics.md is made from the table (tools/docs_metrics.py).
"""
