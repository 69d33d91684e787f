"""Async gRPC client of flowd agents and Hubble servers, shared by the commands and `flowd top`.

`client` holds the calls (Observer, Peer, Health, and flowd's own Agent service), `connection` the
address and TLS of a server, `errors` the mapping from gRPC status codes to FlowdError.
Imports: `flowd.errors`, `flowd.wire`, grpc. Only `client` loads grpc, so that the other two can
be imported without it. Protobuf messages come from one server and go to `flowd.observe` and
`flowd_tui` unchanged: their strings are not yet printable.
"""
