"""Fields of well-known JSON keys, for access logs without a given format.

The keys are those of the default formats of Envoy Gateway, Istio, Contour and Cilium, of the
samples in kgateway's guide, and the name of each operator in lower case
(`downstream_local_address`, `req_x_request_id`, `common_duration_ds_rx_beg_ds_tx_end_us`).
"""

import re

from flowd.accesslog.fields import LogField, field_of
from flowd.accesslog.operators import Operator

_SLUG = re.compile(r"[^a-z0-9]+")
_MAX_KEY = 128
_HEADER = re.compile(r"req_([a-z0-9_]{1,100})")

_NAMED = {
    "timestamp": "START_TIME",
    "ts": "START_TIME",
    "time": "START_TIME",
    "method": "REQ(:METHOD)",
    "scheme": "REQ(:SCHEME)",
    "authority": "REQ(:AUTHORITY)",
    "host": "REQ(:AUTHORITY)",
    "path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
    "x_envoy_origin_path": "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
    "x_envoy_original_path": "REQ(X-ENVOY-ORIGINAL-PATH)",
    "user_agent": "REQ(USER-AGENT)",
    "request_id": "REQ(X-REQUEST-ID)",
    "x_request_id": "REQ(X-REQUEST-ID)",
    "traceparent": "REQ(TRACEPARENT)",
    "x_forwarded_for": "REQ(X-FORWARDED-FOR)",
    "upstream_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
    "x_envoy_upstream_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
    "resp_backend_service_time": "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)",
    "total_duration": "DURATION",
    "backendhost": "UPSTREAM_HOST",
    "backendcluster": "UPSTREAM_CLUSTER",
    "upstreamhost": "UPSTREAM_HOST",
    "upstreamcluster": "UPSTREAM_CLUSTER",
    "sni": "REQUESTED_SERVER_NAME",
    "vhost": "CEL(xds.virtual_host_name)",
    "contour_config_kind": "METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.kind)",
    "contour_config_namespace": (
        "METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.namespace)"
    ),
    "contour_config_name": "METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.name)",
}
OPERATORS = [
    *_NAMED.values(),
    *[
        "START_TIME",
        "START_TIME(%s.%6f)",
        "DURATION",
        "RESPONSE_CODE",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "RESPONSE_CODE_DETAILS",
        "CONNECTION_TERMINATION_DETAILS",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        "PROTOCOL",
        "STREAM_ID",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_PORT",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_REMOTE_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_PORT",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_LOCAL_PORT",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_HOST",
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_CLUSTER",
        "ROUTE_NAME",
        "REQUESTED_SERVER_NAME",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        "ACCESS_LOG_TYPE",
        "FILTER_CHAIN_NAME",
        "LISTENER_NAME",
        "CILIUM_GATEWAY_NAME",
        "CILIUM_GATEWAY_NAMESPACE",
        "METADATA(ROUTE:envoy-gateway)",
        "METADATA(ROUTE:envoy-gateway:resources)",
        "METADATA(CLUSTER:envoy-gateway)",
        "METADATA(CLUSTER:envoy-gateway:resources)",
        "METADATA(VIRTUAL_HOST:envoy-gateway)",
        "METADATA(VIRTUAL_HOST:envoy-gateway:resources)",
        "METADATA(ROUTE:envoy.access_loggers.file)",
        "METADATA(ROUTE:istio)",
        "METADATA(ROUTE:istio:config)",
        "METADATA(VIRTUAL_HOST:istio:config)",
        "REQ(:PATH)",
        "REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)",
        "PATH(WQ:ORIG)",
        "PATH(WQ:ORIG_OR_PATH)",
        "COMMON_DURATION(DS_RX_BEG:DS_TX_END:ms)",
        "COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)",
        "COMMON_DURATION(DS_RX_BEG:DS_TX_END:ns)",
        "COMMON_DURATION(US_TX_BEG:US_RX_BEG:ms)",
        "COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)",
        "COMMON_DURATION(US_TX_BEG:US_RX_BEG:ns)",
    ],
]


def _slug(text: str) -> str:
    return _SLUG.sub("_", text.lower()).strip("_")


def _operator(text: str) -> Operator:
    name, _, argument = text.removesuffix(")").partition("(")
    return Operator(name, argument)


_FIELDS = {_slug(text): field_of(_operator(text)) for text in OPERATORS} | {
    key: field_of(_operator(text)) for key, text in _NAMED.items()
}
# Keys with the prefix of request headers that name other values in some formats
_NOT_HEADERS = frozenset(("req_duration", "req_bytes", "req_size", "req_headers", "req_body"))


def known_field(key: str) -> LogField | None:
    """The field of a JSON key, or None for an unknown key."""
    if len(key) > _MAX_KEY:
        return None
    slug = _slug(key)
    if found := _FIELDS.get(slug):
        return found
    header = _HEADER.fullmatch(slug)
    if not header or slug in _NOT_HEADERS:
        return None
    return LogField(f"header:{header[1].replace('_', '-')}", 1)
