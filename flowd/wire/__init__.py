"""Protobuf messages on the wire: Hubble's API, Envoy's access logs, flowd's own API, gRPC services.

Each package has a hand-written .proto (field numbers of the named upstream version) and the modules
that `make proto` generates from it. `json` writes proto3 JSON as Hubble does, `names` has Hubble's
texts for numbers. Imports protobuf, and flowd.model.enums for `names`.
"""
