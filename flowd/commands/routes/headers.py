"""`flowd routes headers`: access-log configuration for each Gateway implementation, as YAML."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

Yaml = dict[str, Any]
ALS_PORT = 9001
_ALWAYS_LOGGED = ("traceparent", "x-envoy-original-path", "x-envoy-original-host")
_OPERATORS = {
    "start_time_s_6f": "%START_TIME(%s.%6f)%",
    "access_log_type": "%ACCESS_LOG_TYPE%",
    "req_method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "req_x_envoy_original_host_authority": "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "common_duration_ds_rx_beg_ds_tx_end_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
    "duration": "%DURATION%",
    "upstream_cluster_raw": "%UPSTREAM_CLUSTER_RAW%",
    "downstream_direct_remote_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_remote_address": "%UPSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%",
}
_CILIUM = {
    "cilium_gateway_name": "%CILIUM_GATEWAY_NAME%",
    "cilium_gateway_namespace": "%CILIUM_GATEWAY_NAMESPACE%",
    "vhost": "%CEL(xds.virtual_host_name)%",
}
_CONTOUR = ("contour_config_kind", "contour_config_namespace", "contour_config_name")
"""Contour's names of the metadata that identifies the route."""


def _object(version: str, kind: str, namespace: str, spec: Yaml) -> Yaml:
    metadata = {"name": "flowd", "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _envoy_gateway(names: Sequence[str], namespace: str, name: str, _: Sequence[str]) -> list[Yaml]:
    def sink(kind: str, options: Yaml) -> Yaml:
        backends = [{"name": name, "namespace": namespace, "port": ALS_PORT}]
        als = {"type": kind, "logName": f"flowd-{kind.lower()}", "backendRefs": backends, **options}
        return {"sinks": [{"type": "ALS", "als": als}]}

    http = {"http": {"requestHeaders": list(names), "responseTrailers": ["grpc-status"]}}
    # An empty setting keeps the default log on standard output
    log = {"settings": [{}, sink("HTTP", http), sink("TCP", {})]}
    spec = {"telemetry": {"accessLog": log}}
    return [_object("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "envoy-gateway-system", spec)]


def _istio(names: Sequence[str], namespace: str, name: str, _: Sequence[str]) -> list[Yaml]:
    host = {"service": f"{name}.{namespace}.svc.cluster.local", "port": ALS_PORT}
    http = {**host, "logName": "flowd-http", "additionalRequestHeadersToLog": list(names)}
    providers = [
        {"name": "flowd-http", "envoyHttpAls": http},
        {"name": "flowd-tcp", "envoyTcpAls": {**host, "logName": "flowd-tcp"}},
    ]
    used = [{"name": provider["name"]} for provider in providers]
    spec = {"accessLogging": [{"providers": used}]}
    telemetry = _object("telemetry.istio.io/v1", "Telemetry", "istio-system", spec)
    return [{"meshConfig": {"extensionProviders": providers}}, telemetry]


def operators(names: Sequence[str]) -> dict[str, str]:
    """Envoy's command operators by the JSON keys that the agent's built-in format reads.

    Args:
        names: request headers to log in addition.
    """
    headers = {f"req_{name.replace('-', '_')}": f"%REQ({name.upper()})%" for name in names}
    return _OPERATORS | {
        key: text for key, text in headers.items() if not key.startswith("req_x_envoy_original_")
    }


def _cilium(names: Sequence[str], _namespace: str, _name: str, _: Sequence[str]) -> list[Yaml]:
    log = {"format": "JSON", "targets": ["HTTP", "TCP"], "json": operators(names) | _CILIUM}
    spec = {"telemetry": {"accessLogs": [log]}}
    return [_object("cilium.io/v2alpha1", "CiliumGatewayClassConfig", "kube-system", spec)]


def _contour(names: Sequence[str], _namespace: str, _name: str, _: Sequence[str]) -> list[Yaml]:
    fields = [f"{key}={text}" for key, text in operators(names).items()]
    fields += _CONTOUR
    logging = {"accessLogFormat": "json", "accessLogJSONFields": fields}
    spec = {"runtimeSettings": {"envoy": {"logging": logging}}}
    return [_object("projectcontour.io/v1alpha1", "ContourDeployment", "projectcontour", spec)]


def _kgateway(
    names: Sequence[str], namespace: str, name: str, gateways: Sequence[str]
) -> list[Yaml]:
    backend = {"name": name, "namespace": namespace, "port": ALS_PORT}
    grpc = {"logName": "flowd", "backendRef": backend, "additionalRequestHeadersToLog": list(names)}
    documents: list[Yaml] = []
    for gateway in gateways:
        gateway_namespace, _, gateway_name = gateway.partition("/")
        target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway_name}
        spec = {"targetRefs": [target], "accessLog": [{"grpcService": grpc}]}
        policy = _object(
            "gateway.kgateway.dev/v1alpha1", "HTTPListenerPolicy", gateway_namespace, spec
        )
        policy["metadata"]["name"] = f"flowd-{gateway_name}"
        documents.append(policy)
    return documents


BUILDERS: dict[str, Callable[[Sequence[str], str, str, Sequence[str]], list[Yaml]]] = {
    "eg": _envoy_gateway,
    "istio": _istio,
    "cilium": _cilium,
    "contour": _contour,
    "kgateway": _kgateway,
}


@click.command("headers")
@click.option(
    "--manifests",
    multiple=True,
    required=True,
    metavar="PATH",
    help="File or folder of Kubernetes YAML. Repeatable.",
)
@click.option(
    "--dialect",
    type=click.Choice(tuple(BUILDERS)),
    default="eg",
    show_default=True,
    help="Implementation to configure; eg is Envoy Gateway.",
)
@click.option(
    "--service",
    default="flowd-system/flowd",
    show_default=True,
    metavar="NAMESPACE/NAME",
    help="Service of the agent's access-log service, port 9001.",
)
def headers(manifests: tuple[str, ...], dialect: str, service: str) -> None:
    """Print what the Gateway implementation must be told to log, as YAML to apply.

    Routes that match on headers can only be told apart when those headers are in the access log:
    they are in the YAML together with traceparent and the original path and host. Istio's first
    document is a part of the mesh configuration, not an object.

    \b
    Example:
      flowd routes headers --manifests ./k8s --dialect eg | kubectl apply -f -
    """
    import yaml

    from flowd.errors import UsageError
    from flowd.gateway.table.route_table import RouteTable
    from flowd.kubernetes.manifests import load_manifests
    from flowd.model.losses import Losses

    namespace, slash, name = service.partition("/")
    if not (namespace and slash and name):
        raise UsageError(f"--service {service!r} is not NAMESPACE/NAME", "like flowd-system/flowd")
    objects = load_manifests([Path(path) for path in manifests], Losses())
    table = RouteTable.build(objects, dialect)
    names = sorted({*table.header_names, *_ALWAYS_LOGGED} - {"user-agent"})
    documents = BUILDERS[dialect](names, namespace, name, sorted(table.gateways))
    if documents:
        click.echo(yaml.safe_dump_all(documents, sort_keys=False, width=200), nl=False)
