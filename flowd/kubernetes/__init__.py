"""Kubernetes objects: partial structs, manifest files, and the client of the API server.

Packages: `objects` (structs and snapshots), `api` (informer over HTTP); `manifests.py` and
`yaml.py` load files. May import `flowd.model`, `flowd.errors` and `flowd.text`. Objects are untrusted: each
is bounded in size, decoded into typed structs, and counted by reason when it is invalid. Snapshots
go to `flowd.identity` and `flowd.gateway`.
"""
