"""Gateway API objects (gateway-api v1): the fields that decide about routing.

The structs have the names of the Go types in apis/v1. L4Rule and L4RouteSpec stand for the types
of TCPRoute, TLSRoute and UDPRoute, and ValueMatch for HTTPHeaderMatch and HTTPQueryParamMatch.
"""

from typing import Annotated, Literal

import msgspec

from flowd.kubernetes.objects.core import Labels, Object, Port, Struct
from flowd.model.address import is_address

GROUP = "gateway.networking.k8s.io"
X_GROUP = "gateway.networking.x-k8s.io"
"""API group of experimental kinds."""

Hostname = Annotated[str, msgspec.Meta(max_length=253)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
PathMatchType = Literal["Exact", "PathPrefix", "RegularExpression"]
ValueMatchType = Literal["Exact", "RegularExpression"]


class GatewayClassSpec(Struct, frozen=True, kw_only=True):
    controller_name: str = ""


class GatewayClass(Object, frozen=True, kw_only=True):
    spec: GatewayClassSpec = GatewayClassSpec()


class LabelSelectorRequirement(Struct, frozen=True, kw_only=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(Struct, frozen=True, kw_only=True):
    match_labels: Labels = msgspec.field(default_factory=dict[str, str])
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether labels satisfy every requirement (apimachinery's LabelSelector)."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            _satisfies(labels, expression) for expression in self.match_expressions
        )


def _satisfies(labels: Labels, expression: LabelSelectorRequirement) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value in expression.values
        case "NotIn":
            return value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None


class RouteNamespaces(Struct, frozen=True, kw_only=True):
    from_: Literal["All", "Selector", "Same", "None"] = msgspec.field(default="Same", name="from")
    selector: LabelSelector = LabelSelector()


class RouteGroupKind(Struct, frozen=True, kw_only=True):
    group: str = GROUP
    kind: str


class AllowedRoutes(Struct, frozen=True, kw_only=True):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()


class ListenerTLSConfig(Struct, frozen=True, kw_only=True):
    mode: Literal["Terminate", "Passthrough"] = "Terminate"


class Listener(Struct, frozen=True, kw_only=True):
    name: str
    port: Port
    protocol: str
    hostname: Hostname = ""
    tls: ListenerTLSConfig = ListenerTLSConfig()
    allowed_routes: AllowedRoutes = AllowedRoutes()


class ListenerNamespaces(Struct, frozen=True, kw_only=True):
    """Namespaces of allowed ListenerSets; unlike for routes, none by default."""

    from_: Literal["All", "Selector", "Same", "None"] = msgspec.field(default="None", name="from")
    selector: LabelSelector = LabelSelector()


class AllowedListeners(Struct, frozen=True, kw_only=True):
    namespaces: ListenerNamespaces = ListenerNamespaces()


class GatewayAddress(Struct, frozen=True, kw_only=True):
    """addresses[] of spec and status: IPAddress, Hostname, or an implementation's type."""

    type: str = "IPAddress"
    value: Annotated[str, msgspec.Meta(max_length=253)] = ""


class GatewaySpec(Struct, frozen=True, kw_only=True):
    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] = ()
    allowed_listeners: AllowedListeners = AllowedListeners()
    addresses: tuple[GatewayAddress, ...] = ()


class GatewayStatus(Struct, frozen=True, kw_only=True):
    addresses: tuple[GatewayAddress, ...] = ()


class Gateway(Object, frozen=True, kw_only=True):
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()

    def addresses(self) -> list[str]:
        """IP addresses in the status; invalid ones, a controller's error, are left out."""
        texts = [entry.value for entry in self.status.addresses if entry.type == "IPAddress"]
        return list(filter(is_address, texts))

    def hostnames(self) -> list[str]:
        """DNS names in the status, lower case and without a final dot."""
        texts = (entry.value for entry in self.status.addresses if entry.type == "Hostname")
        return [text.lower().removesuffix(".") for text in texts if text]


class ParentReference(Struct, frozen=True, kw_only=True):
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    name: str
    section_name: str = ""
    port: Port | None = None


class ListenerSetSpec(Struct, frozen=True, kw_only=True):
    parent_ref: ParentReference
    listeners: tuple[Listener, ...] = ()


class ListenerSet(Object, frozen=True, kw_only=True):
    spec: ListenerSetSpec


class XListenerSet(ListenerSet, frozen=True, kw_only=True):
    """ListenerSet under its experimental name, before gateway-api v1.6."""


class BackendRef(Struct, frozen=True, kw_only=True):
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    name: str
    port: Port | None = None
    weight: Weight = 1


class HTTPPathMatch(Struct, frozen=True, kw_only=True):
    type: PathMatchType = "PathPrefix"
    value: Annotated[str, msgspec.Meta(max_length=1024)] = "/"


class ValueMatch(Struct, frozen=True, kw_only=True):
    """headers[] or queryParams[] of a match."""

    type: ValueMatchType = "Exact"
    name: Annotated[str, msgspec.Meta(max_length=256)]
    value: Annotated[str, msgspec.Meta(max_length=4096)]


class HTTPRouteMatch(Struct, frozen=True, kw_only=True):
    path: HTTPPathMatch = HTTPPathMatch()
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query_params: tuple[ValueMatch, ...] = ()


class HTTPHeader(Struct, frozen=True, kw_only=True):
    name: str
    value: str


class HTTPHeaderFilter(Struct, frozen=True, kw_only=True):
    set: tuple[HTTPHeader, ...] = ()
    add: tuple[HTTPHeader, ...] = ()
    remove: tuple[str, ...] = ()


class HTTPPathModifier(Struct, frozen=True, kw_only=True):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str = ""
    replace_prefix_match: str = ""


class HTTPRequestRedirectFilter(Struct, frozen=True, kw_only=True):
    scheme: str = ""
    hostname: Hostname = ""
    path: HTTPPathModifier | None = None
    port: Port | None = None
    status_code: int = 302


class HTTPURLRewriteFilter(Struct, frozen=True, kw_only=True):
    hostname: Hostname = ""
    path: HTTPPathModifier | None = None


class Fraction(Struct, frozen=True, kw_only=True):
    numerator: int
    denominator: int = 100


class HTTPRequestMirrorFilter(Struct, frozen=True, kw_only=True):
    backend_ref: BackendRef
    percent: int | None = None
    fraction: Fraction | None = None


class HTTPCORSFilter(Struct, frozen=True, kw_only=True):
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: int = 5


class LocalObjectReference(Struct, frozen=True, kw_only=True):
    group: str = ""
    kind: str = ""
    name: str = ""


class HTTPRouteFilter(Struct, frozen=True, kw_only=True):
    """filters[] of an HTTPRoute or GRPCRoute rule; other types than these have only a name."""

    type: str
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_redirect: HTTPRequestRedirectFilter | None = None
    url_rewrite: HTTPURLRewriteFilter | None = msgspec.field(default=None, name="urlRewrite")
    request_mirror: HTTPRequestMirrorFilter | None = None
    cors: HTTPCORSFilter | None = None
    extension_ref: LocalObjectReference | None = None


class HTTPBackendRef(BackendRef, frozen=True, kw_only=True):
    """A backendRef of an HTTPRoute or GRPCRoute, with optional filters (also GRPCBackendRef)."""

    filters: tuple[HTTPRouteFilter, ...] = ()


class HTTPRouteTimeouts(Struct, frozen=True, kw_only=True):
    """Timeouts as duration text (GEP-2257): `10s`."""

    request: str = ""
    backend_request: str = ""


class HTTPRouteRetry(Struct, frozen=True, kw_only=True):
    codes: tuple[int, ...] = ()
    attempts: int | None = None
    backoff: str = ""


class HTTPRouteRule(Struct, frozen=True, kw_only=True):
    name: str = ""
    matches: tuple[HTTPRouteMatch, ...] = ()
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[HTTPBackendRef, ...] = ()
    timeouts: HTTPRouteTimeouts = HTTPRouteTimeouts()
    retry: HTTPRouteRetry | None = None


class GRPCMethodMatch(Struct, frozen=True, kw_only=True):
    type: ValueMatchType = "Exact"
    service: str = ""
    method: str = ""


class GRPCRouteMatch(Struct, frozen=True, kw_only=True):
    method: GRPCMethodMatch = GRPCMethodMatch()
    headers: tuple[ValueMatch, ...] = ()


class GRPCRouteRule(Struct, frozen=True, kw_only=True):
    name: str = ""
    matches: tuple[GRPCRouteMatch, ...] = ()
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[HTTPBackendRef, ...] = ()


class L4Rule(Struct, frozen=True, kw_only=True):
    name: str = ""
    backend_refs: tuple[BackendRef, ...] = ()


class HTTPRouteSpec(Struct, frozen=True, kw_only=True):
    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[HTTPRouteRule, ...] = ()


class HTTPRoute(Object, frozen=True, kw_only=True):
    spec: HTTPRouteSpec = HTTPRouteSpec()


class GRPCRouteSpec(Struct, frozen=True, kw_only=True):
    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[GRPCRouteRule, ...] = ()


class GRPCRoute(Object, frozen=True, kw_only=True):
    spec: GRPCRouteSpec = GRPCRouteSpec()


class L4RouteSpec(Struct, frozen=True, kw_only=True):
    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[L4Rule, ...] = ()


class TLSRoute(Object, frozen=True, kw_only=True):
    spec: L4RouteSpec = L4RouteSpec()


class TCPRoute(Object, frozen=True, kw_only=True):
    spec: L4RouteSpec = L4RouteSpec()


class UDPRoute(Object, frozen=True, kw_only=True):
    spec: L4RouteSpec = L4RouteSpec()


class ReferenceGrantFrom(Struct, frozen=True, kw_only=True):
    group: str
    kind: str
    namespace: str


class ReferenceGrantTo(Struct, frozen=True, kw_only=True):
    group: str
    kind: str
    name: str = ""


class ReferenceGrantSpec(Struct, frozen=True, kw_only=True):
    from_: tuple[ReferenceGrantFrom, ...] = msgspec.field(default=(), name="from")
    to: tuple[ReferenceGrantTo, ...] = ()


class ReferenceGrant(Object, frozen=True, kw_only=True):
    spec: ReferenceGrantSpec = ReferenceGrantSpec()


class LocalPolicyTargetReferenceWithSectionName(Struct, frozen=True, kw_only=True):
    """targetRefs[] of a policy; `section_name` is the name of a Service's port."""

    group: str = ""
    kind: str = ""
    name: str
    section_name: str = ""


class BackendTLSPolicyValidation(Struct, frozen=True, kw_only=True):
    hostname: Hostname = ""
    well_known_ca_certificates: str = msgspec.field(default="", name="wellKnownCACertificates")


class BackendTLSPolicySpec(Struct, frozen=True, kw_only=True):
    target_refs: tuple[LocalPolicyTargetReferenceWithSectionName, ...] = ()
    validation: BackendTLSPolicyValidation = BackendTLSPolicyValidation()


class BackendTLSPolicy(Object, frozen=True, kw_only=True):
    """BackendTLSPolicy v1 and v1alpha3: TLS from the Gateway to the target Services."""

    spec: BackendTLSPolicySpec = BackendTLSPolicySpec()
