"""The demo's cluster on paper: pods with their addresses, and Kubernetes objects that name them.

`topology` lays out the pods, `objects` loads the manifests and makes the objects that hold
addresses. Imports nothing of the demo; the rest of the demo imports this room.
"""
