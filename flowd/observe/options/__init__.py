"""Flags of the client commands: their declaration, parsing, and the request they make.

`flags` and `filters` map filter flags to FlowFilters, `observe_flags` and `server_flags` declare
the other flags, `click_options` has the click classes, `config_file` reads hubble's configuration
file, `request` builds GetFlowsRequest, `times` and `types` parse and format values, `window`
applies --first and --last on the client. May import `flowd.model`, `flowd.filter`, `flowd.wire`.
"""
