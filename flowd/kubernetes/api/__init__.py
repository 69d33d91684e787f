"""Informer for the Kubernetes API server: client, discovery, reflectors, object store.

`cluster.py` runs one reflector (list, watch, relist) for each resource in `resources.py`; the
store gives snapshots of `flowd.kubernetes.objects`. The words are those of client-go. Imports
`flowd.kubernetes`, `flowd.model.losses`, `flowd.model.status`, `flowd.errors`, `flowd.text`,
httpx2 and lightkube (kubeconfig only); imported only where there is an API server.
"""
