"""Client side of the commands that ask a server: flags, formats, and sources of flows.

`options` turns flags into requests, `sources` reads flows from servers or files, `output` formats
them; `run` and `run_events` are the body of `flowd observe`, `complete` its shell completion.
May import `flowd.client`, `flowd.filter`, `flowd.model`, `flowd.wire`, `flowd.text`,
`flowd.errors`; never commands. Inside: `output` may import `options`, `sources` both, and the
loose modules all three. Modules that help texts need load neither grpc nor numpy.
"""
