"""Attribute access-log entries: fill route, backend, attribution and outcome of REQUEST rows.

`attribute.py` is the pipeline stage with its caches; `evidence.py` decides about one entry by
names, metadata, matching rules, cluster and listener. Imports `flowd.gateway.matching`,
`attachment` and `table`, `flowd.kubernetes.objects` and `flowd.model`. Rows come from the
access-log sources, and routes and backends go to `flowd.model.directory`.
"""
