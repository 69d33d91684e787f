"""The control plane: keys, etcd, API server, controllers and scheduler."""
