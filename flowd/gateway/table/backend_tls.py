"""BackendTLSPolicy: the backends that a Gateway connects to by TLS."""

from dataclasses import dataclass

from flowd.kubernetes.objects.gateway_api import BackendTLSPolicy
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.route import BackendRef


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of one object, named `Kind/namespace/name`."""

    object: str
    what: str


class BackendTls:
    """Effective BackendTLSPolicy of each Service port.

    A policy for a named port overrides a policy for the whole Service; the oldest of several
    policies with one target applies (gateway-api, apis/v1/backendtlspolicy_types.go).

    Attributes:
        problems: policies whose target does not exist, and policies that lost to an older one.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._policies: dict[tuple[str, str, str], BackendTLSPolicy] = {}
        self.problems: list[Problem] = []
        for policy in sorted(objects.backend_tls_policies.values(), key=_age):
            namespace = policy.metadata.namespace
            for target in policy.spec.target_refs:
                if (target.group, target.kind) != ("", "Service"):
                    continue
                service = objects.services.get((namespace, target.name))
                ports = [port.name for port in service.spec.ports] if service else []
                if not service or target.section_name not in ("", *ports):
                    section = f" port {target.section_name}" if service else ""
                    self._wrong(policy, f"targetRef Service {target.name}{section} is not there")
                    continue
                key = namespace, target.name, target.section_name
                holder = self._policies.setdefault(key, policy)
                if holder is not policy:
                    self._wrong(policy, f"Conflicted: {holder.metadata.name} has its target")

    def of(self, ref: BackendRef, kind: str) -> str:
        """Server name and policy of a backend, or "" when no policy applies.

        Args:
            kind: kind of the route; policies do not apply to an Ingress.
        """
        if not self._policies or ref.kind != "Service" or kind == "Ingress":
            return ""
        service = self._objects.services.get((ref.namespace, ref.name))
        ports = service.spec.ports if service else ()
        names = [port.name for port in ports if port.port == ref.port]
        for section in (*names, ""):
            policy = self._policies.get((ref.namespace, ref.name, section))
            if policy:
                return f"{policy.spec.validation.hostname}, {policy.metadata.name}"
        return ""

    def _wrong(self, policy: BackendTLSPolicy, what: str) -> None:
        metadata = policy.metadata
        name = f"BackendTLSPolicy/{metadata.namespace}/{metadata.name}"
        self.problems.append(Problem(name, what))


def _age(policy: BackendTLSPolicy) -> tuple[bool, str, str, str]:
    created = policy.metadata.creation_timestamp
    return not created, created, *policy.key
