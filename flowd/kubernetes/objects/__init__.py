"""Partial structs of Kubernetes objects, named like the Go types of the API, and snapshots of them.

Only the fields that flowd reads are declared; msgspec ignores all others. Imports msgspec and
`flowd.model.address`. `flowd.kubernetes.manifests` and `flowd.kubernetes.api` create the objects;
`flowd.identity` and `flowd.gateway` read them.
"""
