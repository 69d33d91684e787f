"""Parse Envoy access-log entries, JSON or text, into REQUEST rows.

Path of an entry: a line or object (`lines_to_rows`) is read by a format (`jsonformat`,
`textformat`, loaded by `snippet`) into raw values, which `raw_to_columns` converts with `values`,
`times`, `addresses`, `metadata` and `forwarded`. `operators`, `fields` and `keys` map Envoy's
command operators and well-known JSON keys to columns. Lines are untrusted: bounded, and malformed
ones are counted. Imports only `flowd.model`, `flowd.errors` and libraries; used by `flowd.capture`
and `flowd replay`.
"""
