"""Backends that a Gateway speaks TLS to, by BackendTLSPolicy."""

from dataclasses import dataclass

from flowd.kubernetes.objects.gateway_api import BackendTLSPolicy
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.route import BackendRef


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an object, `Kind/namespace/name`."""

    object: str
    what: str


class BackendTls:
    """Which policy holds for which port of which Service.

    A policy for a named port goes before one for all ports of a Service; of several with one
    target the oldest holds (gateway-api, apis/v1/backendtlspolicy_types.go).

    Attributes:
        problems: policies whose target is not there, and those that an older one keeps out.
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
        """Server name and policy for a backend, or "" when none holds for it.

        Args:
            kind: of the route; those of an Ingress are no matter of the Gateway API's policies.
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
