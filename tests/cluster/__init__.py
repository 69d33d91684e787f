"""A real Kubernetes cluster on this machine, in namespaces and cgroups of its own: `make cluster`."""
