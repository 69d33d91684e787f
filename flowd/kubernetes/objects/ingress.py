"""Ingress and IngressClass (networking.k8s.io/v1): the fields that decide about routing.

The structs have the names of the Go types.
"""

from typing import Literal

import msgspec

from flowd.kubernetes.objects.core import Object, ObjectMeta, Port, Struct

GROUP = "networking.k8s.io"
PathType = Literal["Exact", "Prefix", "ImplementationSpecific"]

_CLASS = "kubernetes.io/ingress.class"
_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"


class AnnotatedObjectMeta(ObjectMeta, frozen=True, kw_only=True):
    """ObjectMeta with annotations, which only these kinds need."""

    annotations: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class ServiceBackendPort(Struct, frozen=True, kw_only=True):
    """A port of a Service by number, or by name when the number is 0."""

    name: str = ""
    number: Port = 0


class IngressServiceBackend(Struct, frozen=True, kw_only=True):
    name: str
    port: ServiceBackendPort = ServiceBackendPort()


class TypedLocalObjectReference(Struct, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""


class IngressBackend(Struct, frozen=True, kw_only=True):
    service: IngressServiceBackend | None = None
    resource: TypedLocalObjectReference | None = None


class HTTPIngressPath(Struct, frozen=True, kw_only=True):
    path: str = "/"
    path_type: PathType = "ImplementationSpecific"
    backend: IngressBackend = IngressBackend()


class HTTPIngressRuleValue(Struct, frozen=True, kw_only=True):
    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(Struct, frozen=True, kw_only=True):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Struct, frozen=True, kw_only=True):
    hosts: tuple[str, ...] = ()


class IngressSpec(Struct, frozen=True, kw_only=True):
    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()


class Ingress(Object, frozen=True, kw_only=True):
    metadata: AnnotatedObjectMeta
    spec: IngressSpec = IngressSpec()

    @property
    def class_name(self) -> str:
        """Requested IngressClass, from the field or the older annotation; "" for none."""
        return self.spec.ingress_class_name or self.metadata.annotations.get(_CLASS, "")


class IngressClassSpec(Struct, frozen=True, kw_only=True):
    controller: str = ""


class IngressClass(Object, frozen=True, kw_only=True):
    metadata: AnnotatedObjectMeta
    spec: IngressClassSpec = IngressClassSpec()

    @property
    def is_default(self) -> bool:
        """Whether the class is the default for Ingresses without class."""
        return self.metadata.annotations.get(_DEFAULT_CLASS) == "true"
