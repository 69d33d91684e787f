"""The fields of Gateway API objects that decide which route takes a request (gateway-api v1)."""

from typing import Annotated, Literal

import msgspec

from flowd.kubernetes.objects.core import Labels, Object, Port, Struct
from flowd.model.address import is_address

GROUP = "gateway.networking.k8s.io"
X_GROUP = "gateway.networking.x-k8s.io"
"""Of kinds that are still experimental."""

Hostname = Annotated[str, msgspec.Meta(max_length=253)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
PathMatchType = Literal["Exact", "PathPrefix", "RegularExpression"]
ValueMatchType = Literal["Exact", "RegularExpression"]


class GatewayClassSpec(Struct, frozen=True, kw_only=True):
    controller_name: str = ""


class GatewayClass(Object, frozen=True, kw_only=True):
    spec: GatewayClassSpec = GatewayClassSpec()


class Expression(Struct, frozen=True, kw_only=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class Selector(Struct, frozen=True, kw_only=True):
    match_labels: Labels = msgspec.field(default_factory=dict[str, str])
    match_expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether labels satisfy every requirement (apimachinery's LabelSelector)."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            _satisfies(labels, expression) for expression in self.match_expressions
        )


def _satisfies(labels: Labels, expression: Expression) -> bool:
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
    selector: Selector = Selector()


class RouteKind(Struct, frozen=True, kw_only=True):
    group: str = GROUP
    kind: str


class AllowedRoutes(Struct, frozen=True, kw_only=True):
    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteKind, ...] = ()


class ListenerTLS(Struct, frozen=True, kw_only=True):
    mode: Literal["Terminate", "Passthrough"] = "Terminate"


class Listener(Struct, frozen=True, kw_only=True):
    name: str
    port: Port
    protocol: str
    hostname: Hostname = ""
    tls: ListenerTLS = ListenerTLS()
    allowed_routes: AllowedRoutes = AllowedRoutes()


class ListenerNamespaces(Struct, frozen=True, kw_only=True):
    """Where ListenerSets of a Gateway may be; unlike routes, nowhere by default."""

    from_: Literal["All", "Selector", "Same", "None"] = msgspec.field(default="None", name="from")
    selector: Selector = Selector()


class AllowedListeners(Struct, frozen=True, kw_only=True):
    namespaces: ListenerNamespaces = ListenerNamespaces()


class GatewayAddress(Struct, frozen=True, kw_only=True):
    """addresses[] of spec and status: an IPAddress, a Hostname, or a type of an implementation."""

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
        """The IP addresses of its status; one that is none is a controller's slip and left out."""
        texts = [entry.value for entry in self.status.addresses if entry.type == "IPAddress"]
        return list(filter(is_address, texts))

    def hostnames(self) -> list[str]:
        """The DNS names of its status, lower case and without a final dot."""
        texts = (entry.value for entry in self.status.addresses if entry.type == "Hostname")
        return [text.lower().removesuffix(".") for text in texts if text]


class ParentRef(Struct, frozen=True, kw_only=True):
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    name: str
    section_name: str = ""
    port: Port | None = None


class ListenerSetSpec(Struct, frozen=True, kw_only=True):
    parent_ref: ParentRef
    listeners: tuple[Listener, ...] = ()


class ListenerSet(Object, frozen=True, kw_only=True):
    spec: ListenerSetSpec


class XListenerSet(ListenerSet, frozen=True, kw_only=True):
    """The same under its name before v1.6."""


class BackendRef(Struct, frozen=True, kw_only=True):
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    name: str
    port: Port | None = None
    weight: Weight = 1


class PathMatch(Struct, frozen=True, kw_only=True):
    type: PathMatchType = "PathPrefix"
    value: Annotated[str, msgspec.Meta(max_length=1024)] = "/"


class ValueMatch(Struct, frozen=True, kw_only=True):
    """headers[] or queryParams[] of a match."""

    type: ValueMatchType = "Exact"
    name: Annotated[str, msgspec.Meta(max_length=256)]
    value: Annotated[str, msgspec.Meta(max_length=4096)]


class HTTPMatch(Struct, frozen=True, kw_only=True):
    path: PathMatch = PathMatch()
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query_params: tuple[ValueMatch, ...] = ()


class NamedValue(Struct, frozen=True, kw_only=True):
    name: str
    value: str


class HeaderModifier(Struct, frozen=True, kw_only=True):
    set: tuple[NamedValue, ...] = ()
    add: tuple[NamedValue, ...] = ()
    remove: tuple[str, ...] = ()


class PathModifier(Struct, frozen=True, kw_only=True):
    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: str = ""
    replace_prefix_match: str = ""


class Redirect(Struct, frozen=True, kw_only=True):
    scheme: str = ""
    hostname: Hostname = ""
    path: PathModifier | None = None
    port: Port | None = None
    status_code: int = 302


class Rewrite(Struct, frozen=True, kw_only=True):
    hostname: Hostname = ""
    path: PathModifier | None = None


class Fraction(Struct, frozen=True, kw_only=True):
    numerator: int
    denominator: int = 100


class Mirror(Struct, frozen=True, kw_only=True):
    backend_ref: BackendRef
    percent: int | None = None
    fraction: Fraction | None = None


class Cors(Struct, frozen=True, kw_only=True):
    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: int = 5


class ExtensionRef(Struct, frozen=True, kw_only=True):
    group: str = ""
    kind: str = ""
    name: str = ""


class Filter(Struct, frozen=True, kw_only=True):
    """filters[] of an HTTPRoute or GRPCRoute rule; types without fields here only have a name."""

    type: str
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_redirect: Redirect | None = None
    url_rewrite: Rewrite | None = msgspec.field(default=None, name="urlRewrite")
    request_mirror: Mirror | None = None
    cors: Cors | None = None
    extension_ref: ExtensionRef | None = None


class FilteredBackendRef(BackendRef, frozen=True, kw_only=True):
    """A backendRef of an HTTPRoute or GRPCRoute, which may have filters of its own."""

    filters: tuple[Filter, ...] = ()


class Timeouts(Struct, frozen=True, kw_only=True):
    """Durations of GEP-2257 as they stand: `10s`."""

    request: str = ""
    backend_request: str = ""


class Retry(Struct, frozen=True, kw_only=True):
    codes: tuple[int, ...] = ()
    attempts: int | None = None
    backoff: str = ""


class HTTPRule(Struct, frozen=True, kw_only=True):
    name: str = ""
    matches: tuple[HTTPMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[FilteredBackendRef, ...] = ()
    timeouts: Timeouts = Timeouts()
    retry: Retry | None = None


class GRPCMethodMatch(Struct, frozen=True, kw_only=True):
    type: ValueMatchType = "Exact"
    service: str = ""
    method: str = ""


class GRPCMatch(Struct, frozen=True, kw_only=True):
    method: GRPCMethodMatch = GRPCMethodMatch()
    headers: tuple[ValueMatch, ...] = ()


class GRPCRule(Struct, frozen=True, kw_only=True):
    name: str = ""
    matches: tuple[GRPCMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    backend_refs: tuple[FilteredBackendRef, ...] = ()


class L4Rule(Struct, frozen=True, kw_only=True):
    name: str = ""
    backend_refs: tuple[BackendRef, ...] = ()


class HTTPRouteSpec(Struct, frozen=True, kw_only=True):
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[HTTPRule, ...] = ()


class HTTPRoute(Object, frozen=True, kw_only=True):
    spec: HTTPRouteSpec = HTTPRouteSpec()


class GRPCRouteSpec(Struct, frozen=True, kw_only=True):
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[GRPCRule, ...] = ()


class GRPCRoute(Object, frozen=True, kw_only=True):
    spec: GRPCRouteSpec = GRPCRouteSpec()


class L4RouteSpec(Struct, frozen=True, kw_only=True):
    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[L4Rule, ...] = ()


class TLSRoute(Object, frozen=True, kw_only=True):
    spec: L4RouteSpec = L4RouteSpec()


class TCPRoute(Object, frozen=True, kw_only=True):
    spec: L4RouteSpec = L4RouteSpec()


class UDPRoute(Object, frozen=True, kw_only=True):
    spec: L4RouteSpec = L4RouteSpec()


class GrantFrom(Struct, frozen=True, kw_only=True):
    group: str
    kind: str
    namespace: str


class GrantTo(Struct, frozen=True, kw_only=True):
    group: str
    kind: str
    name: str = ""


class GrantSpec(Struct, frozen=True, kw_only=True):
    from_: tuple[GrantFrom, ...] = msgspec.field(default=(), name="from")
    to: tuple[GrantTo, ...] = ()


class ReferenceGrant(Object, frozen=True, kw_only=True):
    spec: GrantSpec = GrantSpec()


class PolicyTarget(Struct, frozen=True, kw_only=True):
    """targetRefs[] of a policy; `section_name` is the name of a Service's port."""

    group: str = ""
    kind: str = ""
    name: str
    section_name: str = ""


class Validation(Struct, frozen=True, kw_only=True):
    hostname: Hostname = ""
    well_known_ca_certificates: str = msgspec.field(default="", name="wellKnownCACertificates")


class BackendTLSPolicySpec(Struct, frozen=True, kw_only=True):
    target_refs: tuple[PolicyTarget, ...] = ()
    validation: Validation = Validation()


class BackendTLSPolicy(Object, frozen=True, kw_only=True):
    """TLS from the Gateway to the Services that it names, v1 and v1alpha3."""

    spec: BackendTLSPolicySpec = BackendTLSPolicySpec()
