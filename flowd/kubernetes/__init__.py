"""Kubernetes objects: what flowd reads of them, and the manifest files they come from."""
