"""Match requests: rules and precedence, hostnames, virtual hosts, filters, backends, dialects.

The precedence follows the Gateway API specification and, by dialect, its implementations.
Lowest package of `flowd.gateway`: imports only `flowd.kubernetes.objects`, `flowd.model.route`,
`flowd.model.address` and `flowd.errors`. `flowd.gateway.table` builds the rules from objects;
`attribution` and `report` match against them.
"""
