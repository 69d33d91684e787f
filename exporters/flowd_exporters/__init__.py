"""Exporters: the sinks of the pipeline, one package each, every one with a queue of FlowBatch.

`prometheus`, `otlp`, `hubble`, `flowlog` and `agent_api` (flowd top) do not import one another,
except that flowlog encodes with hubble.encode. `h2grpc` and `api_server` carry the gRPC services;
`base`, `label_values` and `trace_context` are shared leaves, which import no sub-package.
May import flowd's model, filter, wire, text, errors and the queue; `flowd/wiring` makes the parts.
"""
