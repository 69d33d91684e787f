"""`flowd routes`: match, explain, list and compare Gateway API routes.

`command` has the verbs, `headers` the access-log configuration of each Gateway implementation,
`wire` the conversion of an agent's RoutesResponse. Routes come from manifests through
`flowd.gateway`, or from an agent through `flowd.client`; tables and JSON go to stdout.
"""

from flowd.commands.routes.command import command

__all__ = ["command"]
