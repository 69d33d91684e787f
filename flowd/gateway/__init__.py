"""Gateway API engine: attach routes to listeners, match requests, attribute access-log entries.

Packages, each importing only those before it: `matching`, `attachment`, `table`, then
`attribution` and `report`, which do not import each other. May import `flowd.kubernetes` and
`flowd.model`; no source, pipeline or exporter. Input: snapshots of `flowd.kubernetes.objects`, and
REQUEST rows of the pipeline. Output: filled columns, and descriptions for commands and API.
"""
