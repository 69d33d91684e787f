"""Workload of a Pod: the topmost controller in its chain of owners."""

from flowd.kubernetes.objects.core import Pod, controller_of
from flowd.kubernetes.objects.snapshot import Objects

HASH_LABEL = "pod-template-hash"


def workload(pod: Pod, objects: Objects) -> tuple[str, str]:
    """(kind, name) of the topmost controller: Deployment, CronJob, DaemonSet, ...; empty for none.

    Where the ReplicaSet of a Pod is not among the objects, the Deployment follows from the
    pod-template-hash that ends the ReplicaSet's name (pkg/controller/deployment/sync.go).
    """
    owner = controller_of(pod.metadata)
    if owner is None:
        return "", ""
    key = pod.metadata.namespace, owner.name
    if owner.kind == "ReplicaSet":
        known = objects.replica_sets.get(key)
        above = known.controller if known else None
        suffix = f"-{pod.metadata.labels.get(HASH_LABEL, '')}"
        if known is None and len(suffix) > 1 and owner.name.endswith(suffix):
            return "Deployment", owner.name.removesuffix(suffix)
    else:
        known = objects.jobs.get(key) if owner.kind == "Job" else None
        above = known.controller if known else None
    return (above.kind, above.name) if above else (owner.kind, owner.name)
