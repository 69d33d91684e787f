"""Record layouts: one module for each kind of row, with its numpy dtype and an `empty_*` function.

CONNECTION, DROP, SOCKET and TRANSLATION rows come from flowd.capture.kernel, DNS rows from
flowd.capture.dns, REQUEST rows from flowd.accesslog and flowd.capture.envoy. flowd.pipeline builds
FLOW and SHARE rows, and hands a FlowBatch (`batch`) to the exporters. `rows` moves whole rows.
Imports numpy and flowd.model.
"""
