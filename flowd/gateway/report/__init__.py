"""Reports on routes: simulate and explain requests, describe and list Gateways and routes.

For `flowd routes` and the agent API. Reads route tables of `flowd.gateway.table`; gives plain
structs, JSON, or rows of text whose cells are made printable. Imports `flowd.gateway.matching`,
`attachment` and `table`, `flowd.model` and `flowd.text`.
"""
