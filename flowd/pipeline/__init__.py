"""The stages between capture and exporters: functions from batches of rows to batches of rows.

Connection records get endpoints (`identify`) and their translation (`nat`); requests come attributed
from flowd.gateway and pass `redact`. `join` matches both, and `flows` builds the Hubble flow rows.
Records, drops, socket reports and DNS rows come from flowd.capture; results leave as
flowd.model.records.batch.FlowBatch for the exporters. flowd.wiring.pipeline connects the stages.

May import flowd.model, flowd.errors and flowd.runtime.queue; never capture, gateway or exporters.
"""
