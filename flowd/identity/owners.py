"""From a Pod to the workload that people know it by."""

from flowd.kubernetes.objects.core import Pod, controller_of
from flowd.kubernetes.objects.snapshot import Objects

HASH_LABEL = "pod-template-hash"


def workload(pod: Pod, objects: Objects) -> tuple[str, str]:
    """(kind, name) of the topmost controller: a Deployment, a CronJob, a DaemonSet; empty for none.

    Where the ReplicaSet of a Pod is not among the objects, the hash that a Deployment puts on its
    Pods and behind its ReplicaSets' names tells it (pkg/controller/deployment/sync.go).
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
