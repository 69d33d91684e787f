"""Sources of flows for `flowd observe`: one server, several merged servers, or a file.

`connect` makes clients from the server flags (with `forward` and `insecure`), `merge` orders the
flows of several servers, `input_file` reads JSON lines, `stream` prints what comes.
May import `observe.options`, `observe.output`, `flowd.client`, `flowd.filter`, `flowd.wire`.
"""
