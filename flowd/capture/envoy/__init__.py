"""Envoy's access-log service (ALS) over gRPC, and Envoy's own counters of access-log entries.

`server` receives StreamAccessLogsMessage, `decode` turns its entries into REQUEST rows with
`protoscan` (protobuf fields by numpy), `entry` (columns of fields), `addresses` and `metadata`;
`stats` scrapes Envoy's Prometheus page. Messages are untrusted and bounded by AlsLimits; losses are
counted under Place.ACCESS_LOG and Place.ENVOY. Imports `flowd.accesslog`, `flowd.model`,
`flowd.wire` and `flowd.runtime`.
"""
