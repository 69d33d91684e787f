"""Route table: build all routes of one snapshot of Kubernetes objects, incrementally.

`route_table.py` is the entry point; `routes.py` and `ingress.py` convert objects to Routes,
`backend_tls.py` evaluates BackendTLSPolicies. Imports `flowd.gateway.matching` and `attachment`,
`flowd.kubernetes.objects` and `flowd.model.route`. `attribution` and `report` read the tables.
"""
