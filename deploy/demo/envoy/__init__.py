"""Translate the demo's Gateway API objects into Envoy's bootstrap, as Envoy Gateway does.

`config` builds the bootstrap, `routes` the HTTP routes, `attachment` selects routes by listener,
`access_log` configures the loggers, `certificates` makes the TLS certificates.
May import `demo.objects`, `demo.topology`, `demo.errors`. Objects come from `demo.objects`; the
result goes to envoy.json.
"""
