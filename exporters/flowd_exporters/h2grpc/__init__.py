"""gRPC over HTTP/2 for services with many small answers: one write carries many messages.

`service` holds tables of methods, `call` is one call, `connection` one client, `listen` and `tls`
are how clients get in (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""
