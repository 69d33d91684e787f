"""NAT lookup: fill the `nat_*` columns of connection records from translation updates.

`table` stores translations by 5-tuple and time; `translate` is the pipeline stage over it. Updates
come from flowd.capture.kernel.conntrack, rows from flowd.pipeline.identify; rows go on to the join.
May import flowd.model, and `endpoint_tuples` and `sorted_index` of flowd.pipeline.
"""
