"""The fields of Ingress objects that decide which backend takes a request (networking.k8s.io/v1)."""

from typing import Literal

import msgspec

from flowd.kubernetes.objects.core import Meta, Object, Port, Struct

GROUP = "networking.k8s.io"
PathType = Literal["Exact", "Prefix", "ImplementationSpecific"]

_CLASS = "kubernetes.io/ingress.class"
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


class AnnotatedMeta(Meta, frozen=True, kw_only=True):
    """ObjectMeta with its annotations, which only these kinds need."""

    annotations: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class PortRef(Struct, frozen=True, kw_only=True):
    """A port of a Service by number, or by name when the number is 0."""

    name: str = ""
    number: Port = 0


class ServiceRef(Struct, frozen=True, kw_only=True):
    name: str
    port: PortRef = PortRef()


class Resource(Struct, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""


class Backend(Struct, frozen=True, kw_only=True):
    service: ServiceRef | None = None
    resource: Resource | None = None


class Path(Struct, frozen=True, kw_only=True):
    path: str = "/"
    path_type: PathType = "ImplementationSpecific"
    backend: Backend = Backend()


class Paths(Struct, frozen=True, kw_only=True):
    paths: tuple[Path, ...] = ()


class Rule(Struct, frozen=True, kw_only=True):
    host: str = ""
    http: Paths | None = None


class TLS(Struct, frozen=True, kw_only=True):
    hosts: tuple[str, ...] = ()


class IngressSpec(Struct, frozen=True, kw_only=True):
    ingress_class_name: str = ""
    default_backend: Backend | None = None
    rules: tuple[Rule, ...] = ()
    tls: tuple[TLS, ...] = ()


class Ingress(Object, frozen=True, kw_only=True):
    metadata: AnnotatedMeta
    spec: IngressSpec = IngressSpec()

    @property
    def class_name(self) -> str:
        """The IngressClass it asks for, also in the way from before the field; "" for none."""
        return self.spec.ingress_class_name or self.metadata.annotations.get(_CLASS, "")


class IngressClassSpec(Struct, frozen=True, kw_only=True):
    controller: str = ""


class IngressClass(Object, frozen=True, kw_only=True):
    metadata: AnnotatedMeta
    spec: IngressClassSpec = IngressClassSpec()

    @property
    def is_default(self) -> bool:
        """Whether Ingresses that name no class are its."""
        return self.metadata.annotations.get(_DEFAULT_CLASS) == "true"
