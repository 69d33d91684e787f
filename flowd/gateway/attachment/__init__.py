"""Attach routes to Gateways, listeners, ListenerSets and Services by their parentRefs.

Also assigns proxy addresses and ports to Gateways (data plane). Imports
`flowd.gateway.matching`, `flowd.kubernetes.objects` and `flowd.model.address`. Input: Gateways,
ListenerSets, Services and built Routes; output: listeners with their routes, and parent statuses,
for `flowd.gateway.table`.
"""
