"""Access logs from files and over OTLP: from lines and log records to REQUEST batches.

`files` follows files and globs with `tail` (one file), `wrapping` (CRI and Docker framing) and
`positions` (kept across restarts); `otlp_server` receives OTLP log records and `otlp_entries`
converts them. `flowd.accesslog` parses the entries. Losses are counted under Place.ACCESS_LOG.
"""
