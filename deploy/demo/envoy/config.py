"""Translate the demo's Gateway API objects into a static Envoy bootstrap, as Envoy Gateway does.

All names that an access log can show are Envoy Gateway's. Facts follow envoyproxy/gateway 1.9,
`internal/xds/translator/{listener,cluster,translator}.go`.
"""

from pathlib import Path

from demo.cluster.objects import Object, container_port, endpoints, of_kind
from demo.cluster.topology import ADMIN_PORT, Topology
from demo.envoy import access_log
from demo.envoy import routes as envoy_routes
from demo.envoy.access_log import ALS_CLUSTER, Config
from demo.envoy.attachment import attached, hostnames
from demo.envoy.routes import cluster_name, envoy_route, metadata, route_key, underscored

TYPES = "type.googleapis.com/envoy.extensions"
BUFFER = 32768
MAX_REQUESTS = 20
"""Requests per connection: the agent has no socket data of connections older than itself."""


class EnvoyTranslator:
    """Translates the objects of one demo into Envoy's bootstrap.

    Args:
        topology: addresses of the demo.
        objects: Kubernetes objects; the first Gateway is served.
        directory: folder of access log, certificates and keys.
        als: (host, port) of the access-log service.
    """

    def __init__(
        self, topology: Topology, objects: list[Object], directory: Path, als: tuple[str, int]
    ) -> None:
        self._topology = topology
        self._objects = objects
        self._directory = directory
        self._als = als
        self._gateway = of_kind(objects, "Gateway")[0]
        self._services = {
            (each["metadata"]["namespace"], each["metadata"]["name"]): each
            for each in of_kind(objects, "Service")
        }
        self._log = str(directory / "access.log")

    def bootstrap(self) -> Config:
        """The whole configuration.

        Raises:
            DemoError: a route uses a feature that the demo does not translate.
        """
        admin = self._topology.address(self._topology.gateway) if self._topology.loopback else None
        return {
            "admin": {"address": _socket(admin or "127.0.0.1", ADMIN_PORT)},
            "static_resources": {
                "listeners": [self._listener(each) for each in self._gateway["spec"]["listeners"]],
                "clusters": [*self._clusters(), self._als_cluster()],
            },
        }

    def _name(self, listener: Object) -> str:
        meta = self._gateway["metadata"]
        return f"{meta['namespace']}/{meta['name']}/{listener['name']}"

    def _listener(self, listener: Object) -> Config:
        port = container_port(listener["port"])
        config: Config = {
            "name": self._name(listener),
            "per_connection_buffer_limit_bytes": BUFFER,
            "access_log": access_log.listener(self._log),
        } | self._addresses(port)
        if listener["protocol"] == "HTTP":
            chain = {"name": self._name(listener), "filters": [self._http(listener)]}
            return config | {"default_filter_chain": chain}
        inspector = {"@type": f"{TYPES}.filters.listener.tls_inspector.v3.TlsInspector"}
        config["listener_filters"] = [
            {"name": "envoy.filters.listener.tls_inspector", "typed_config": inspector}
        ]
        chains = [self._https_chain(listener)]
        if listener["protocol"] == "TLS":
            routes = attached("TLSRoute", self._objects, self._gateway, listener)
            chains = [self._passthrough_chain(route, listener) for route in routes]
        return config | {"filter_chains": chains}

    def _addresses(self, port: int) -> Config:
        if self._topology.loopback:
            return {"address": _socket(self._topology.address(self._topology.gateway), port)}
        return {
            "address": _socket("0.0.0.0", port),
            "additional_addresses": [{"address": _socket("::", port)}],
        }

    def _http(self, listener: Object) -> Config:
        routes = attached("HTTPRoute", self._objects, self._gateway, listener)
        prefix = "https" if listener["protocol"] == "HTTPS" else "http"
        router = {"@type": f"{TYPES}.filters.http.router.v3.Router", "suppress_envoy_headers": True}
        config = {
            "@type": f"{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": f"{prefix}-{container_port(listener['port'])}",
            "codec_type": "AUTO",
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "server_header_transformation": "PASS_THROUGH",
            "common_http_protocol_options": {
                "headers_with_underscores_action": "REJECT_REQUEST",
                "max_requests_per_connection": MAX_REQUESTS,
            },
            "access_log": access_log.http(self._log, envoy_routes.match_headers(routes)),
            "route_config": {
                "name": self._name(listener),
                "ignore_port_in_host_matching": True,
                "virtual_hosts": self._virtual_hosts(listener, routes),
            },
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        }
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}

    def _virtual_hosts(self, listener: Object, routes: list[Object]) -> list[Config]:
        by_host: dict[str, list[Object]] = {}
        for route in routes:
            for host in hostnames(route, listener):
                by_host.setdefault(host, []).append(route)
        gateway = self._gateway["metadata"]
        return [
            {
                "name": f"{self._name(listener)}/{underscored(host)}",
                "domains": [host],
                "metadata": metadata("Gateway", gateway, listener["name"]),
                "routes": [
                    envoy_route(each, host, self._has_endpoints(each.route, each.rule))
                    for each in envoy_routes.matches(found)
                ],
            }
            for host, found in by_host.items()
        ]

    def _https_chain(self, listener: Object) -> Config:
        files = {
            "certificate_chain": {"filename": str(self._directory / "gateway.crt")},
            "private_key": {"filename": str(self._directory / "gateway.key")},
        }
        context = {
            "@type": f"{TYPES}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificates": [files],
            },
        }
        return {
            "name": self._name(listener),
            "filter_chain_match": {"server_names": [listener.get("hostname", "*")]},
            "filters": [self._http(listener)],
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        }

    def _passthrough_chain(self, route: Object, listener: Object) -> Config:
        config = {
            "@type": f"{TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": f"tls-passthrough-{container_port(listener['port'])}",
            "cluster": cluster_name(route, -1),
            "access_log": access_log.tcp(self._log),
        }
        return {
            "name": route_key(route),
            "filter_chain_match": {"server_names": hostnames(route, listener)},
            "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}],
        }

    def _clusters(self) -> list[Config]:
        listeners = self._gateway["spec"]["listeners"]
        found: dict[str, Config] = {}
        for kind in ("HTTPRoute", "TLSRoute"):
            for listener in listeners:
                for route in attached(kind, self._objects, self._gateway, listener):
                    for i in range(len(route["spec"]["rules"])):
                        name = cluster_name(route, i if kind == "HTTPRoute" else -1)
                        if name not in found and self._has_endpoints(route, i):
                            found[name] = self._cluster(name, route, i)
        return list(found.values())

    def _cluster(self, name: str, route: Object, rule: int) -> Config:
        section = route["spec"]["rules"][rule].get("name", "")
        config = _static(name, self._localities(name, route, rule))
        config["metadata"] = metadata(route["kind"], route["metadata"], section)
        config["typed_extension_protocol_options"] = _upstream(
            explicit_http_config={"http_protocol_options": {}},
            common_http_protocol_options={"max_requests_per_connection": MAX_REQUESTS},
        )
        if self._topology.loopback:
            source = self._topology.address(self._topology.gateway)
            config["upstream_bind_config"] = {"source_address": _address(source, 0)}
        return config

    def _localities(self, name: str, route: Object, rule: int) -> list[Config]:
        localities: list[Config] = []
        for k, ref in enumerate(route["spec"]["rules"][rule]["backendRefs"]):
            service = self._service(route, ref)
            port = next(p for p in service["spec"]["ports"] if p["port"] == ref["port"])
            found = endpoints(self._topology, service)
            if not found or ref.get("weight", 1) == 0:
                continue
            localities.append(
                {
                    "locality": {"region": f"{name}/backend/{k}"},
                    "load_balancing_weight": ref.get("weight", 1),
                    "metadata": metadata("Service", service["metadata"], str(ref["port"])),
                    "lb_endpoints": [
                        {
                            "endpoint": {"address": _socket(address, port["targetPort"])},
                            "load_balancing_weight": 1,
                        }
                        for address, _ in found
                    ],
                }
            )
        return localities

    def _has_endpoints(self, route: Object, rule: int) -> bool:
        refs = route["spec"]["rules"][rule].get("backendRefs", [])
        return any(endpoints(self._topology, self._service(route, ref)) for ref in refs)

    def _service(self, route: Object, ref: Object) -> Object:
        return self._services[ref.get("namespace", route["metadata"]["namespace"]), ref["name"]]

    def _als_cluster(self) -> Config:
        host, port = self._als
        endpoint = {"endpoint": {"address": _socket(host, port)}}
        config = _static(ALS_CLUSTER, [{"lb_endpoints": [endpoint], "load_balancing_weight": 1}])
        config["typed_extension_protocol_options"] = _upstream(
            explicit_http_config={"http2_protocol_options": {}}
        )
        return config


def _upstream(**options: Config) -> Config:
    http = f"{TYPES}.upstreams.http.v3.HttpProtocolOptions"
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": http} | options}


def _static(name: str, localities: list[Config]) -> Config:
    policy: Config = {
        "@type": f"{TYPES}.load_balancing_policies.least_request.v3.LeastRequest",
        "locality_lb_config": {"locality_weighted_lb_config": {}},
    }
    extension: Config = {
        "name": "envoy.load_balancing_policies.least_request",
        "typed_config": policy,
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": BUFFER,
        "load_balancing_policy": {"policies": [{"typed_extension_config": extension}]},
        "load_assignment": {"cluster_name": name, "endpoints": localities},
    }


def _socket(address: str, port: int) -> Config:
    return {"socket_address": _address(address, port)}


def _address(address: str, port: int) -> Config:
    return {"address": address, "port_value": port}
