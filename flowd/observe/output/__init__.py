"""Formats of the client commands: flows, events, nodes, namespaces and status as text or JSON.

`printers` chooses a format; `compact`, `records` and `events` format responses from the cells of
`fields` in a `style`; `listing` and `status` format the other answers; `table` aligns columns.
May import `observe.options`, `flowd.client`, `flowd.text`, `flowd.wire`. Every string of a server
passes `style.clean` before it is printed.
"""
