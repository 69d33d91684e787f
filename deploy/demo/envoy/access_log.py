"""Envoy's access loggers: Envoy Gateway's default JSON lines, and gRPC ALS to the agent."""

from typing import Any, TypeAlias

Config: TypeAlias = dict[str, Any]
ALS_CLUSTER = "accesslog_als_0_0"
FLUSH = "0.2s"  # Envoy's default is 1 s; the demo's screen should be live
HEADERS = ("traceparent", "x-request-id", "x-flowd-seq")
DEFAULT_JSON = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "x-envoy-origin-path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "x-envoy-upstream-service-time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x-forwarded-for": "%REQ(X-FORWARDED-FOR)%",
    "user-agent": "%REQ(USER-AGENT)%",
    "x-request-id": "%REQ(X-REQUEST-ID)%",
    ":authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
NO_ROUTE: Config = {"response_flag_filter": {"flags": ["NR"]}}


def http(path: str, match_headers: set[str]) -> list[Config]:
    """Loggers of an HTTP connection manager; `match_headers` are headers that routes match on."""
    stream = {
        "@type": _type("grpc.v3.HttpGrpcAccessLogConfig"),
        "common_config": _common("http"),
        "additional_request_headers_to_log": sorted({*HEADERS, *match_headers}),
        "additional_response_headers_to_log": ["grpc-status"],
        "additional_response_trailers_to_log": ["grpc-status"],
    }
    return [_file(path), {"name": "envoy.access_loggers.http_grpc", "typed_config": stream}]


def tcp(path: str) -> list[Config]:
    """Loggers of a TCP proxy."""
    stream = {"@type": _type("grpc.v3.TcpGrpcAccessLogConfig"), "common_config": _common("tcp")}
    return [_file(path), {"name": "envoy.access_loggers.tcp_grpc", "typed_config": stream}]


def listener(path: str) -> list[Config]:
    """Loggers of a listener, for connections that match no filter chain."""
    return [{**logger, "filter": NO_ROUTE} for logger in tcp(path)]


def _file(path: str) -> Config:
    config = {
        "@type": _type("file.v3.FileAccessLog"),
        "path": path,
        "log_format": {"json_format": DEFAULT_JSON},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _common(log_name: str) -> Config:
    return {
        "log_name": f"flowd-{log_name}",
        "transport_api_version": "V3",
        "buffer_flush_interval": FLUSH,
        "grpc_service": {"envoy_grpc": {"cluster_name": ALS_CLUSTER}},
    }


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.access_loggers.{name}"
