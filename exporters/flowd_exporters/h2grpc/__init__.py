"""A gRPC server over HTTP/2 for streams of many small messages: one write carries many of them.

`service` has the method tables, `server` accepts clients on the sockets of `listen` with the
certificates of `tls`, `connection` is one client's HTTP/2 connection (library h2), `call` one RPC.
Imports flowd.errors and nothing of the other exporters; methods come from hubble, agent_api and
api_server. Specification: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
"""
