"""The join of access-log requests with connection records, by 5-tuple and time.

`join` is the stage; `connection_table` stores connections, `socket_reports` adds RTT, retransmits
and owners, `route_sets` splits traffic by route, `end_delay` holds END records for late log
entries, `measure` and `latency` fill the result columns. Rows come identified from
flowd.pipeline.identify and flowd.pipeline.nat, and attributed from flowd.gateway; FlowBatches go to
the exporters' queues. May import flowd.model, flowd.runtime.queue and flowd.pipeline.
"""
