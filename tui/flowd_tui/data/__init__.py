"""Data of `flowd top`: received flows and traffic, independent of views and terminal.

`source` reads a server's streams into `store`; `flow_line` and `traffic` decode the messages;
`store` hands immutable snapshots to the views. May import `flowd.client`, `flowd.wire`,
`flowd.model`, `flowd.text`. Every string that leaves this package is printable.
"""
