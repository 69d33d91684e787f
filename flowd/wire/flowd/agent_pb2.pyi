import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Part(_message.Message):
    __slots__ = ("part", "state", "detail")
    PART_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    part: str
    state: str
    detail: str
    def __init__(self, part: _Optional[str] = ..., state: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Loss(_message.Message):
    __slots__ = ("place", "reason", "count")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    place: str
    reason: str
    count: int
    def __init__(self, place: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("version", "node_name", "cluster_name", "uptime_ns", "parts", "losses", "resident_bytes", "cpu_seconds", "seen_flows", "live_connections")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_NAME_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_NAME_FIELD_NUMBER: _ClassVar[int]
    UPTIME_NS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEEN_FLOWS_FIELD_NUMBER: _ClassVar[int]
    LIVE_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    version: str
    node_name: str
    cluster_name: str
    uptime_ns: int
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    resident_bytes: int
    cpu_seconds: float
    seen_flows: int
    live_connections: int
    def __init__(self, version: _Optional[str] = ..., node_name: _Optional[str] = ..., cluster_name: _Optional[str] = ..., uptime_ns: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping[str, object]]]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping[str, object]]]] = ..., resident_bytes: _Optional[int] = ..., cpu_seconds: _Optional[float] = ..., seen_flows: _Optional[int] = ..., live_connections: _Optional[int] = ...) -> None: ...

class RoutesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Condition(_message.Message):
    __slots__ = ("type", "status", "reason", "message")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    type: str
    status: bool
    reason: str
    message: str
    def __init__(self, type: _Optional[str] = ..., status: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Listener(_message.Message):
    __slots__ = ("name", "port", "protocol", "hostname")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    port: int
    protocol: str
    hostname: str
    def __init__(self, name: _Optional[str] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., hostname: _Optional[str] = ...) -> None: ...

class Gateway(_message.Message):
    __slots__ = ("namespace", "name", "class_name", "listeners")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    class_name: str
    listeners: _containers.RepeatedCompositeFieldContainer[Listener]
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ..., class_name: _Optional[str] = ..., listeners: _Optional[_Iterable[_Union[Listener, _Mapping[str, object]]]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("kind", "namespace", "name", "port", "weight", "ready_endpoints", "endpoints", "reason", "endpoints_known", "tls")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    READY_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    port: int
    weight: int
    ready_endpoints: int
    endpoints: int
    reason: str
    endpoints_known: bool
    tls: str
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., ready_endpoints: _Optional[int] = ..., endpoints: _Optional[int] = ..., reason: _Optional[str] = ..., endpoints_known: _Optional[bool] = ..., tls: _Optional[str] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("name", "matches", "filters", "backends")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    matches: _containers.RepeatedScalarFieldContainer[str]
    filters: _containers.RepeatedScalarFieldContainer[str]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    def __init__(self, name: _Optional[str] = ..., matches: _Optional[_Iterable[str]] = ..., filters: _Optional[_Iterable[str]] = ..., backends: _Optional[_Iterable[_Union[Backend, _Mapping[str, object]]]] = ...) -> None: ...

class Parent(_message.Message):
    __slots__ = ("gateway_namespace", "gateway", "listener", "conditions")
    GATEWAY_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    gateway_namespace: str
    gateway: str
    listener: str
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, gateway_namespace: _Optional[str] = ..., gateway: _Optional[str] = ..., listener: _Optional[str] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping[str, object]]]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("kind", "namespace", "name", "hostnames", "parents", "rules")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOSTNAMES_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    namespace: str
    name: str
    hostnames: _containers.RepeatedScalarFieldContainer[str]
    parents: _containers.RepeatedCompositeFieldContainer[Parent]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    def __init__(self, kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., hostnames: _Optional[_Iterable[str]] = ..., parents: _Optional[_Iterable[_Union[Parent, _Mapping[str, object]]]] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping[str, object]]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("object", "what")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    object: str
    what: str
    def __init__(self, object: _Optional[str] = ..., what: _Optional[str] = ...) -> None: ...

class RoutesResponse(_message.Message):
    __slots__ = ("gateways", "routes", "problems")
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    gateways: _containers.RepeatedCompositeFieldContainer[Gateway]
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, gateways: _Optional[_Iterable[_Union[Gateway, _Mapping[str, object]]]] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping[str, object]]]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping[str, object]]]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    def __init__(self, request: _Optional[bytes] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: bytes
    def __init__(self, explanation: _Optional[bytes] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RouteTraffic(_message.Message):
    __slots__ = ("gateway_namespace", "gateway", "listener", "kind", "namespace", "name", "rule", "match", "reason", "backend_namespace", "backend", "backend_port", "requests", "status", "response_flags", "retries", "latency", "attribution", "split")
    class StatusEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class ResponseFlagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class LatencyEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    GATEWAY_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BACKEND_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_PORT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FLAGS_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    gateway_namespace: str
    gateway: str
    listener: str
    kind: str
    namespace: str
    name: str
    rule: int
    match: int
    reason: str
    backend_namespace: str
    backend: str
    backend_port: int
    requests: int
    status: _containers.ScalarMap[int, int]
    response_flags: _containers.ScalarMap[str, int]
    retries: int
    latency: _containers.ScalarMap[int, int]
    attribution: str
    split: LatencySplit
    def __init__(self, gateway_namespace: _Optional[str] = ..., gateway: _Optional[str] = ..., listener: _Optional[str] = ..., kind: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., rule: _Optional[int] = ..., match: _Optional[int] = ..., reason: _Optional[str] = ..., backend_namespace: _Optional[str] = ..., backend: _Optional[str] = ..., backend_port: _Optional[int] = ..., requests: _Optional[int] = ..., status: _Optional[_Mapping[int, int]] = ..., response_flags: _Optional[_Mapping[str, int]] = ..., retries: _Optional[int] = ..., latency: _Optional[_Mapping[int, int]] = ..., attribution: _Optional[str] = ..., split: _Optional[_Union[LatencySplit, _Mapping[str, object]]] = ...) -> None: ...

class LatencySplit(_message.Message):
    __slots__ = ("requests", "client_network_us", "gateway_us", "pod_network_us", "pod_us")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_NETWORK_US_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_US_FIELD_NUMBER: _ClassVar[int]
    POD_NETWORK_US_FIELD_NUMBER: _ClassVar[int]
    POD_US_FIELD_NUMBER: _ClassVar[int]
    requests: int
    client_network_us: int
    gateway_us: int
    pod_network_us: int
    pod_us: int
    def __init__(self, requests: _Optional[int] = ..., client_network_us: _Optional[int] = ..., gateway_us: _Optional[int] = ..., pod_network_us: _Optional[int] = ..., pod_us: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("time", "interval_ns", "flows", "bytes", "packets", "new_connections", "routes", "losses", "resident_bytes", "cpu_share", "history")
    TIME_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_NS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    PACKETS_FIELD_NUMBER: _ClassVar[int]
    NEW_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARE_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    interval_ns: int
    flows: int
    bytes: int
    packets: int
    new_connections: int
    routes: _containers.RepeatedCompositeFieldContainer[RouteTraffic]
    losses: _containers.RepeatedCompositeFieldContainer[Loss]
    resident_bytes: int
    cpu_share: float
    history: bool
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, object]]] = ..., interval_ns: _Optional[int] = ..., flows: _Optional[int] = ..., bytes: _Optional[int] = ..., packets: _Optional[int] = ..., new_connections: _Optional[int] = ..., routes: _Optional[_Iterable[_Union[RouteTraffic, _Mapping[str, object]]]] = ..., losses: _Optional[_Iterable[_Union[Loss, _Mapping[str, object]]]] = ..., resident_bytes: _Optional[int] = ..., cpu_share: _Optional[float] = ..., history: _Optional[bool] = ...) -> None: ...
