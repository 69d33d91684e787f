"""The gRPC service flowd.v1.Agent: status, routes, explain, and the live traffic of `flowd top`.

`traffic` aggregates batches from its queue into a snapshot a second; `service` serves these and the
agent's state, which it gets through functions. Imports flowd's model and wire, `base`,
`label_values` and h2grpc; no other exporter.
"""
