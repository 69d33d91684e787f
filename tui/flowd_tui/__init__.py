"""`flowd top`: a terminal viewer of one agent's flows and Gateway API traffic (Textual).

`app` and `board` are the screen and its actions, `key_bindings` the keys, `chrome` and `widgets`
what is drawn around and in the table, `order` a stable order of rows, `once` the text output.
Data flows from `flowd.client` through `data` (store, snapshots) to `views` (rows, cells, details)
and `draw` (text of exact width). May import `flowd.client`, `flowd.wire`, `flowd.model`,
`flowd.text`, `flowd.errors`; only `app`, `board`, `widgets` and `draw.theme` load Textual.
"""
