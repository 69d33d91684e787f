import datetime

from google.protobuf import any_pb2 as _any_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import wrappers_pb2 as _wrappers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Sock(_message.Message):
    __slots__ = ("address", "port")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class Addr(_message.Message):
    __slots__ = ("socket",)
    SOCKET_FIELD_NUMBER: _ClassVar[int]
    socket: Sock
    def __init__(self, socket: _Optional[_Union[Sock, _Mapping[str, object]]] = ...) -> None: ...

class Tls(_message.Message):
    __slots__ = ("version", "cipher_suite", "sni")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CIPHER_SUITE_FIELD_NUMBER: _ClassVar[int]
    SNI_FIELD_NUMBER: _ClassVar[int]
    version: int
    cipher_suite: _wrappers_pb2.UInt32Value
    sni: str
    def __init__(self, version: _Optional[int] = ..., cipher_suite: _Optional[_Union[_wrappers_pb2.UInt32Value, _Mapping[str, object]]] = ..., sni: _Optional[str] = ...) -> None: ...

class Unauthorized(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: int
    def __init__(self, reason: _Optional[int] = ...) -> None: ...

class Flags(_message.Message):
    __slots__ = ("lh", "uh", "ut", "lr", "ur", "uf", "uc", "uo", "nr", "di", "fi", "rl", "uaex", "rlse", "dc", "urx", "si", "ih", "dpe", "umsdr", "rfcf", "nfcf", "dt", "upe", "nc", "om", "df", "dr")
    LH_FIELD_NUMBER: _ClassVar[int]
    UH_FIELD_NUMBER: _ClassVar[int]
    UT_FIELD_NUMBER: _ClassVar[int]
    LR_FIELD_NUMBER: _ClassVar[int]
    UR_FIELD_NUMBER: _ClassVar[int]
    UF_FIELD_NUMBER: _ClassVar[int]
    UC_FIELD_NUMBER: _ClassVar[int]
    UO_FIELD_NUMBER: _ClassVar[int]
    NR_FIELD_NUMBER: _ClassVar[int]
    DI_FIELD_NUMBER: _ClassVar[int]
    FI_FIELD_NUMBER: _ClassVar[int]
    RL_FIELD_NUMBER: _ClassVar[int]
    UAEX_FIELD_NUMBER: _ClassVar[int]
    RLSE_FIELD_NUMBER: _ClassVar[int]
    DC_FIELD_NUMBER: _ClassVar[int]
    URX_FIELD_NUMBER: _ClassVar[int]
    SI_FIELD_NUMBER: _ClassVar[int]
    IH_FIELD_NUMBER: _ClassVar[int]
    DPE_FIELD_NUMBER: _ClassVar[int]
    UMSDR_FIELD_NUMBER: _ClassVar[int]
    RFCF_FIELD_NUMBER: _ClassVar[int]
    NFCF_FIELD_NUMBER: _ClassVar[int]
    DT_FIELD_NUMBER: _ClassVar[int]
    UPE_FIELD_NUMBER: _ClassVar[int]
    NC_FIELD_NUMBER: _ClassVar[int]
    OM_FIELD_NUMBER: _ClassVar[int]
    DF_FIELD_NUMBER: _ClassVar[int]
    DR_FIELD_NUMBER: _ClassVar[int]
    lh: bool
    uh: bool
    ut: bool
    lr: bool
    ur: bool
    uf: bool
    uc: bool
    uo: bool
    nr: bool
    di: bool
    fi: bool
    rl: bool
    uaex: Unauthorized
    rlse: bool
    dc: bool
    urx: bool
    si: bool
    ih: bool
    dpe: bool
    umsdr: bool
    rfcf: bool
    nfcf: bool
    dt: bool
    upe: bool
    nc: bool
    om: bool
    df: bool
    dr: bool
    def __init__(self, lh: _Optional[bool] = ..., uh: _Optional[bool] = ..., ut: _Optional[bool] = ..., lr: _Optional[bool] = ..., ur: _Optional[bool] = ..., uf: _Optional[bool] = ..., uc: _Optional[bool] = ..., uo: _Optional[bool] = ..., nr: _Optional[bool] = ..., di: _Optional[bool] = ..., fi: _Optional[bool] = ..., rl: _Optional[bool] = ..., uaex: _Optional[_Union[Unauthorized, _Mapping[str, object]]] = ..., rlse: _Optional[bool] = ..., dc: _Optional[bool] = ..., urx: _Optional[bool] = ..., si: _Optional[bool] = ..., ih: _Optional[bool] = ..., dpe: _Optional[bool] = ..., umsdr: _Optional[bool] = ..., rfcf: _Optional[bool] = ..., nfcf: _Optional[bool] = ..., dt: _Optional[bool] = ..., upe: _Optional[bool] = ..., nc: _Optional[bool] = ..., om: _Optional[bool] = ..., df: _Optional[bool] = ..., dr: _Optional[bool] = ...) -> None: ...

class DynamicMetadata(_message.Message):
    __slots__ = ("namespaces",)
    class NamespacesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _struct_pb2.Struct
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Struct, _Mapping[str, object]]] = ...) -> None: ...
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    namespaces: _containers.MessageMap[str, _struct_pb2.Struct]
    def __init__(self, namespaces: _Optional[_Mapping[str, _struct_pb2.Struct]] = ...) -> None: ...

class StateObject(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: _any_pb2.Any
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[_any_pb2.Any, _Mapping[str, object]]] = ...) -> None: ...

class Common(_message.Message):
    __slots__ = ("remote", "local", "tls", "start", "t_last_rx", "t_first_us_tx", "t_last_us_tx", "t_first_us_rx", "t_last_us_rx", "t_first_ds_tx", "t_last_ds_tx", "up_remote", "up_local", "cluster", "response_flags", "metadata", "up_transport_failure", "route_name", "direct_remote", "filter_state", "custom_tags", "duration", "attempts", "termination_details", "stream_id", "intermediate", "down_transport_failure", "down_wire_sent", "down_wire_received", "up_wire_sent", "up_wire_received", "type")
    class CustomTagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    T_LAST_RX_FIELD_NUMBER: _ClassVar[int]
    T_FIRST_US_TX_FIELD_NUMBER: _ClassVar[int]
    T_LAST_US_TX_FIELD_NUMBER: _ClassVar[int]
    T_FIRST_US_RX_FIELD_NUMBER: _ClassVar[int]
    T_LAST_US_RX_FIELD_NUMBER: _ClassVar[int]
    T_FIRST_DS_TX_FIELD_NUMBER: _ClassVar[int]
    T_LAST_DS_TX_FIELD_NUMBER: _ClassVar[int]
    UP_REMOTE_FIELD_NUMBER: _ClassVar[int]
    UP_LOCAL_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FLAGS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    UP_TRANSPORT_FAILURE_FIELD_NUMBER: _ClassVar[int]
    ROUTE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECT_REMOTE_FIELD_NUMBER: _ClassVar[int]
    FILTER_STATE_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_TAGS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TERMINATION_DETAILS_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    INTERMEDIATE_FIELD_NUMBER: _ClassVar[int]
    DOWN_TRANSPORT_FAILURE_FIELD_NUMBER: _ClassVar[int]
    DOWN_WIRE_SENT_FIELD_NUMBER: _ClassVar[int]
    DOWN_WIRE_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    UP_WIRE_SENT_FIELD_NUMBER: _ClassVar[int]
    UP_WIRE_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    remote: bytes
    local: bytes
    tls: Tls
    start: _timestamp_pb2.Timestamp
    t_last_rx: _duration_pb2.Duration
    t_first_us_tx: _duration_pb2.Duration
    t_last_us_tx: _duration_pb2.Duration
    t_first_us_rx: _duration_pb2.Duration
    t_last_us_rx: _duration_pb2.Duration
    t_first_ds_tx: _duration_pb2.Duration
    t_last_ds_tx: _duration_pb2.Duration
    up_remote: bytes
    up_local: bytes
    cluster: str
    response_flags: bytes
    metadata: bytes
    up_transport_failure: str
    route_name: str
    direct_remote: bytes
    filter_state: _containers.RepeatedScalarFieldContainer[bytes]
    custom_tags: _containers.ScalarMap[str, str]
    duration: _duration_pb2.Duration
    attempts: int
    termination_details: str
    stream_id: str
    intermediate: bool
    down_transport_failure: str
    down_wire_sent: int
    down_wire_received: int
    up_wire_sent: int
    up_wire_received: int
    type: int
    def __init__(self, remote: _Optional[bytes] = ..., local: _Optional[bytes] = ..., tls: _Optional[_Union[Tls, _Mapping[str, object]]] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping[str, object]]] = ..., t_last_rx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., t_first_us_tx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., t_last_us_tx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., t_first_us_rx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., t_last_us_rx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., t_first_ds_tx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., t_last_ds_tx: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., up_remote: _Optional[bytes] = ..., up_local: _Optional[bytes] = ..., cluster: _Optional[str] = ..., response_flags: _Optional[bytes] = ..., metadata: _Optional[bytes] = ..., up_transport_failure: _Optional[str] = ..., route_name: _Optional[str] = ..., direct_remote: _Optional[bytes] = ..., filter_state: _Optional[_Iterable[bytes]] = ..., custom_tags: _Optional[_Mapping[str, str]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping[str, object]]] = ..., attempts: _Optional[int] = ..., termination_details: _Optional[str] = ..., stream_id: _Optional[str] = ..., intermediate: _Optional[bool] = ..., down_transport_failure: _Optional[str] = ..., down_wire_sent: _Optional[int] = ..., down_wire_received: _Optional[int] = ..., up_wire_sent: _Optional[int] = ..., up_wire_received: _Optional[int] = ..., type: _Optional[int] = ...) -> None: ...

class Req(_message.Message):
    __slots__ = ("method", "scheme", "authority", "port", "path", "user_agent", "referer", "forwarded_for", "request_id", "original_path", "headers_bytes", "body_bytes", "headers")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    REFERER_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_PATH_FIELD_NUMBER: _ClassVar[int]
    HEADERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    method: int
    scheme: str
    authority: str
    port: _wrappers_pb2.UInt32Value
    path: str
    user_agent: str
    referer: str
    forwarded_for: str
    request_id: str
    original_path: str
    headers_bytes: int
    body_bytes: int
    headers: _containers.ScalarMap[str, str]
    def __init__(self, method: _Optional[int] = ..., scheme: _Optional[str] = ..., authority: _Optional[str] = ..., port: _Optional[_Union[_wrappers_pb2.UInt32Value, _Mapping[str, object]]] = ..., path: _Optional[str] = ..., user_agent: _Optional[str] = ..., referer: _Optional[str] = ..., forwarded_for: _Optional[str] = ..., request_id: _Optional[str] = ..., original_path: _Optional[str] = ..., headers_bytes: _Optional[int] = ..., body_bytes: _Optional[int] = ..., headers: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Resp(_message.Message):
    __slots__ = ("code", "headers_bytes", "body_bytes", "headers", "trailers", "details")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TrailersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    BODY_BYTES_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: _wrappers_pb2.UInt32Value
    headers_bytes: int
    body_bytes: int
    headers: _containers.ScalarMap[str, str]
    trailers: _containers.ScalarMap[str, str]
    details: str
    def __init__(self, code: _Optional[_Union[_wrappers_pb2.UInt32Value, _Mapping[str, object]]] = ..., headers_bytes: _Optional[int] = ..., body_bytes: _Optional[int] = ..., headers: _Optional[_Mapping[str, str]] = ..., trailers: _Optional[_Mapping[str, str]] = ..., details: _Optional[str] = ...) -> None: ...

class Http(_message.Message):
    __slots__ = ("common", "version", "request", "response")
    COMMON_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    common: Common
    version: int
    request: Req
    response: Resp
    def __init__(self, common: _Optional[_Union[Common, _Mapping[str, object]]] = ..., version: _Optional[int] = ..., request: _Optional[_Union[Req, _Mapping[str, object]]] = ..., response: _Optional[_Union[Resp, _Mapping[str, object]]] = ...) -> None: ...

class Volume(_message.Message):
    __slots__ = ("received", "sent")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    received: int
    sent: int
    def __init__(self, received: _Optional[int] = ..., sent: _Optional[int] = ...) -> None: ...

class Tcp(_message.Message):
    __slots__ = ("common", "volume")
    COMMON_FIELD_NUMBER: _ClassVar[int]
    VOLUME_FIELD_NUMBER: _ClassVar[int]
    common: Common
    volume: Volume
    def __init__(self, common: _Optional[_Union[Common, _Mapping[str, object]]] = ..., volume: _Optional[_Union[Volume, _Mapping[str, object]]] = ...) -> None: ...

class HttpEntries(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Http]
    def __init__(self, entries: _Optional[_Iterable[_Union[Http, _Mapping[str, object]]]] = ...) -> None: ...

class TcpEntries(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Tcp]
    def __init__(self, entries: _Optional[_Iterable[_Union[Tcp, _Mapping[str, object]]]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "cluster")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    cluster: str
    def __init__(self, id: _Optional[str] = ..., cluster: _Optional[str] = ...) -> None: ...

class Identifier(_message.Message):
    __slots__ = ("node", "log_name")
    NODE_FIELD_NUMBER: _ClassVar[int]
    LOG_NAME_FIELD_NUMBER: _ClassVar[int]
    node: Node
    log_name: str
    def __init__(self, node: _Optional[_Union[Node, _Mapping[str, object]]] = ..., log_name: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("identifier", "http", "tcp")
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    TCP_FIELD_NUMBER: _ClassVar[int]
    identifier: Identifier
    http: HttpEntries
    tcp: TcpEntries
    def __init__(self, identifier: _Optional[_Union[Identifier, _Mapping[str, object]]] = ..., http: _Optional[_Union[HttpEntries, _Mapping[str, object]]] = ..., tcp: _Optional[_Union[TcpEntries, _Mapping[str, object]]] = ...) -> None: ...
