"""Hubble's gRPC API over flow rows: observer.Observer and peer.Peer, for the unmodified hubble tools.

Flow batches come from the exporter's queue (`exporter`) into a ring (`ring`); GetFlows reads the
ring with a cursor (`stream`), filters rows by column (flowd.filter) and encodes them (`encode`).
Cluster changes come in as ClusterView (`cluster`) and go out as agent events and peers.
Imports flowd's model, filter and wire, h2grpc and hubble.encode; no other exporter.
"""
