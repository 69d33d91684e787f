"""Access loggers of a test's Envoy for every format that flowd reads, and one for the truth."""

from pathlib import Path
from typing import Any

from flowd.commands.routes.headers import operators
from tests.envoy.envoy import Json, als_logger

_TYPE = "type.googleapis.com/envoy.extensions.access_loggers"
HEADERS = ("x-debug", "canary", "x-envoy-original-host", "traceparent")
KGATEWAY = {
    "start_time": "%START_TIME%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "total_duration": "%DURATION%",
    "resp_backend_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "req_x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "backendHost": "%UPSTREAM_HOST%",
    "backendCluster": "%UPSTREAM_CLUSTER%",
}
"""The format of kgateway's guide."""
CILIUM = {
    "t": "%START_TIME(%s.%6f)%",
    "gw": "%CILIUM_GATEWAY_NAME%",
    "gwns": "%CILIUM_GATEWAY_NAMESPACE%",
    "m": "%REQ(:METHOD)%",
    "p": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "h": "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%",
    "rc": "%RESPONSE_CODE%",
    "f": "%RESPONSE_FLAGS%",
    "d": "%RESPONSE_CODE_DETAILS%",
    "us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "cl": "%UPSTREAM_CLUSTER_RAW%",
    "dr": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "ur": "%UPSTREAM_REMOTE_ADDRESS%",
    "sni": "%REQUESTED_SERVER_NAME%",
    "id": "%REQ(X-REQUEST-ID)%",
    "vh": "%CEL(xds.virtual_host_name)%",
}
"""Custom keys of a CiliumGatewayClassConfig; flowd gets the json_format as a setting."""


def envoy_form(fields: dict[str, str], gateway: str) -> dict[str, str]:
    """A json_format for Envoy, in which Cilium replaces its two tokens by the Gateway."""
    tokens = {"%CILIUM_GATEWAY_NAME%": gateway, "%CILIUM_GATEWAY_NAMESPACE%": "infra"}
    return {key: tokens.get(text, text) for key, text in fields.items()}


def loggers(
    dialect: str, gateway: str, listener: str, kind: str, truth: str, folder: Path
) -> list[Json]:
    """The access loggers of one listener.

    Args:
        kind: `Http` or `Tcp`.
        truth: the route of a TCP listener's connections; "" for HTTP, where routes name it.
    """
    fields = operators(HEADERS)
    if dialect == "contour":
        said = {key: f"%METADATA(ROUTE:envoy.access_loggers.file:io.projectcontour.{key})%"
                for key in ("kind", "namespace", "name")}  # fmt: skip
        fields |= {f"contour_config_{key}": text for key, text in said.items()}
    elif dialect == "cilium":
        tokens = {"cilium_gateway_name": "%CILIUM_GATEWAY_NAME%"}
        tokens |= {"cilium_gateway_namespace": "%CILIUM_GATEWAY_NAMESPACE%"}
        fields |= envoy_form(tokens, gateway) | {"vhost": "%CEL(xds.virtual_host_name)%"}
    elif dialect == "kgateway":
        fields |= {"route_name": "%ROUTE_NAME%"}
    true_form = {
        "gateway": f"infra/{gateway}",
        "listener": listener,
        "truth": truth or "%METADATA(ROUTE:flowd.test:truth)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "seq": "%REQ(X-FLOWD-SEQ)%",
        "client": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
        "upstream": "%UPSTREAM_REMOTE_ADDRESS%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    }
    made = [
        als_logger(kind, f"{dialect}/{kind.lower()}", "logs", *HEADERS),
        _file(folder / "flowd.jsonl", fields),
        _otlp(dialect, fields),
        _file(folder / "truth.jsonl", true_form),
    ]
    if dialect == "kgateway":
        made.append(_file(folder / "default.jsonl", KGATEWAY))
    elif dialect == "cilium":
        made.append(_file(folder / "default.jsonl", envoy_form(CILIUM, gateway)))
    elif kind == "Http":
        made.append(_file(folder / "default.log", {}))
    if kind == "Tcp":
        made[0]["typed_config"].pop("additional_request_headers_to_log")
    elif dialect == "contour":
        _tagged(made[0])
    return made


def _tagged(logger: Json) -> None:
    """Contour's metadata as custom tags, which alone carry it over ALS."""
    key = {"key": "envoy.access_loggers.file", "path": [{"key": "io.projectcontour.kind"}]}
    tags: list[Any] = []
    for name in ("kind", "namespace", "name"):
        path = [{"key": f"io.projectcontour.{name}"}]
        where: Json = {"kind": {"route": {}}, "metadata_key": key | {"path": path}}
        tags.append({"tag": f"contour_config_{name}", "metadata": where})
    logger["typed_config"]["common_config"]["custom_tags"] = tags


def _file(path: Path, fields: dict[str, str]) -> Json:
    config: Json = {"@type": f"{_TYPE}.file.v3.FileAccessLog", "path": str(path)}
    if fields:
        config["log_format"] = {"json_format": fields}
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _otlp(dialect: str, fields: dict[str, str]) -> Json:
    values = [{"key": key, "value": {"string_value": text}} for key, text in fields.items()]
    config = {
        "@type": f"{_TYPE}.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "common_config": {
            "log_name": f"{dialect}/otlp",
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.1s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}},
        },
        "attributes": {"values": values},
    }
    return {"name": "envoy.access_loggers.open_telemetry", "typed_config": config}
