"""Build the servers and locations that ingress-nginx makes of Ingress objects.

Source: kubernetes/ingress-nginx controller-v1.15.1, internal/ingress/controller/{controller,location}.go
and internal/ingress/controller/template/template.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flowd.kubernetes.objects.core import ObjectMeta
from flowd.kubernetes.objects.ingress import Ingress, IngressBackend
from flowd.kubernetes.objects.snapshot import Objects
from flowd.parity.nginx.annotations import Annotations, Canary, ControllerSettings, read_annotations

CONTROLLER = "k8s.io/ingress-nginx"
CATCH_ALL = "_"
DEFAULT_BACKEND = ""
EXACT, PREFIX = "Exact", "Prefix"


@dataclass(slots=True)
class NginxUpstream:
    """A Service and port of an Ingress; unlike pairs with one name are one upstream.

    Attributes:
        name: `namespace-service-port`, as the access log names it.
        backend: `namespace/service:port`.
        canary: the canary that takes a share of every location with this upstream.
        canary_backend: its Service, `namespace/service:port`.
    """

    name: str
    backend: str
    canary: Canary | None = None
    canary_backend: str = ""


@dataclass(slots=True)
class Location:
    """A location of a server.

    Attributes:
        path: as the controller writes it, with the final slash that it adds to a prefix.
        exact: for hosts without regular expressions.
        upstream: None for the default backend.
        ingress: `namespace/name` of the Ingress that it comes from.
        first_prefix: the path of the Ingress rule, before the controller changed it.
    """

    path: str
    path_type: str
    annotations: Annotations
    ingress: str
    upstream: NginxUpstream | None = None
    rule_path: str = ""
    is_default: bool = False

    @property
    def rewrites(self) -> bool:
        """True if the location has a rewrite: a target other than its path."""
        target = self.annotations.rewrite_target
        return bool(target) and target != self.path


@dataclass(slots=True)
class NginxServer:
    """A server of the configuration: one for each host, and `_`.

    Attributes:
        regex: every location is a case-insensitive regular expression.
        tls: the host has a certificate, if only the default one.
        aliases: further names from server-alias.
        redirect_to: of a from-to-www server, the host that it redirects to.
    """

    host: str
    locations: list[Location] = field(default_factory=list[Location])
    regex: bool = False
    tls: bool = False
    aliases: list[str] = field(default_factory=list[str])
    redirect_to: str = ""


@dataclass(slots=True)
class Configuration:
    """All servers.

    Attributes:
        servers: by host; `_` is the default server.
        refused: nginx refuses the whole configuration for this reason; "" if it does not.
        ignored: Ingresses that the controller does not store, with the cause id.
        named: servers by host and alias.
        later: locations that an older Ingress keeps from being used, by host.
    """

    settings: ControllerSettings
    servers: dict[str, NginxServer]
    upstreams: dict[str, NginxUpstream]
    refused: str = ""
    ignored: dict[str, str] = field(default_factory=dict[str, str])
    later: dict[str, list[Location]] = field(default_factory=dict[str, list[Location]])

    named: dict[str, NginxServer] = field(default_factory=dict[str, NginxServer])

    @classmethod
    def empty(cls) -> "Configuration":
        """A configuration without any Ingress."""
        return build(Objects(), ControllerSettings())


def build(objects: Objects, settings: ControllerSettings) -> Configuration:
    """Build the configuration from the Ingresses of the class nginx."""
    builder = _ConfigurationBuilder(settings)
    ordered = sorted(
        (ingress for ingress in objects.ingresses.values() if _is_ours(ingress, objects)),
        key=lambda ingress: _namespaced(ingress.metadata),
        reverse=True,
    )
    ordered.sort(key=lambda ingress: ingress.metadata.creation_timestamp)
    stored: list[tuple[Ingress, Annotations]] = []
    for ingress in ordered:
        read = read_annotations(ingress.metadata.annotations, settings)
        if read.ignored:
            builder.configuration.ignored[_namespaced(ingress.metadata)] = read.ignored
        else:
            stored.append((ingress, read))
    return builder.build(stored)


def _is_ours(ingress: Ingress, objects: Objects) -> bool:
    """Whether the controller takes the Ingress; without any IngressClass the class's name decides."""
    name = ingress.spec.ingress_class_name
    if not name:
        return ingress.class_name in ("nginx", "")
    known = objects.ingress_classes.get(("", name))
    return known.spec.controller == CONTROLLER if known else name == "nginx"


def _namespaced(metadata: ObjectMeta) -> str:
    return f"{metadata.namespace}/{metadata.name}"


def backend_text(namespace: str, backend: IngressBackend) -> str:
    """`namespace/service:port` of an Ingress backend, the port as it is written."""
    service = backend.service
    if service is None:
        return ""
    return f"{namespace}/{service.name}:{service.port.name or service.port.number}"


class _ConfigurationBuilder:
    def __init__(self, settings: ControllerSettings) -> None:
        self.configuration = Configuration(settings, {}, {})

    def build(self, stored: Sequence[tuple[Ingress, Annotations]]) -> Configuration:
        mains = [(ingress, read) for ingress, read in stored if read.canary is None]
        self._default_server()
        for ingress, read in mains:
            self._make_servers(ingress, read)
        self._names(mains)
        for ingress, read in mains:
            self._paths(ingress, read)
        for ingress, read in stored:
            if read.canary:
                self._canary(ingress, read.canary)
        servers = self.configuration.servers
        for server in servers.values():
            _finish(server)
            if repeated := _repeated(server):
                self.configuration.refused = (
                    f"duplicate location {repeated} in server {server.host}"
                )
        self._www(mains)
        named = self.configuration.named
        named.update(servers)
        for server in servers.values():
            for alias in server.aliases:
                named.setdefault(alias, server)
        return self.configuration

    def _default_server(self) -> None:
        location = Location("/", PREFIX, Annotations(ssl_redirect=False), "", is_default=True)
        self.configuration.servers[CATCH_ALL] = NginxServer(CATCH_ALL, [location])

    def _upstream(self, namespace: str, backend: IngressBackend | None) -> NginxUpstream | None:
        if backend is None or backend.service is None:
            return None
        text = backend_text(namespace, backend)
        name = text.replace("/", "-", 1).replace(":", "-", 1)
        return self.configuration.upstreams.setdefault(name, NginxUpstream(name, text))

    def _make_servers(self, ingress: Ingress, read: Annotations) -> None:
        servers = self.configuration.servers
        name, namespace = _namespaced(ingress.metadata), ingress.metadata.namespace
        default = self._upstream(namespace, ingress.spec.default_backend)
        root = servers[CATCH_ALL].locations[0]
        if default and not ingress.spec.rules and root.is_default:
            kept = replace(read, rewrite_target="", permanent_redirect="", temporal_redirect="")
            root.upstream, root.ingress, root.is_default = default, name, False
            root.annotations = kept
        for rule in ingress.spec.rules:
            host = rule.host.lower() or CATCH_ALL
            if host not in servers:
                location = Location("/", PREFIX, read, name, default, is_default=True)
                servers[host] = NginxServer(host, [location])

    def _names(self, mains: Sequence[tuple[Ingress, Annotations]]) -> None:
        """Certificates and aliases, each from the first Ingress of the host that has one."""
        servers = self.configuration.servers
        taken = set(servers)
        for ingress, read in mains:
            hosts = [rule.host.lower() or CATCH_ALL for rule in ingress.spec.rules]
            for host in hosts:
                server = servers[host]
                if host != CATCH_ALL and ingress.spec.tls:
                    server.tls = True
                for alias in read.aliases:
                    if alias.lower() not in taken:
                        taken.add(alias.lower())
                        server.aliases.append(alias.lower())

    def _paths(self, ingress: Ingress, read: Annotations) -> None:
        name, namespace = _namespaced(ingress.metadata), ingress.metadata.namespace
        for rule in ingress.spec.rules:
            server = self.configuration.servers[rule.host.lower() or CATCH_ALL]
            for path in rule.http.paths if rule.http else ():
                upstream = self._upstream(namespace, path.backend)
                if upstream is None:
                    continue
                kind = EXACT if path.path_type == EXACT else PREFIX
                added = Location(path.path or "/", kind, read, name, upstream, path.path or "/")
                self._add(server, added)

    def _add(self, server: NginxServer, added: Location) -> None:
        """Add a location unless the first one with its path has its type too, as the controller does."""
        for number, known in enumerate(server.locations):
            if known.path != added.path:
                continue
            if known.path_type != added.path_type:
                break
            if known.is_default:
                server.locations[number] = added
            else:
                self.configuration.later.setdefault(server.host, []).append(added)
            return
        server.locations.append(added)

    def _canary(self, ingress: Ingress, canary: Canary) -> None:
        """Attach a canary to the upstream of each main location with its host, path and type."""
        namespace = ingress.metadata.namespace
        for rule in ingress.spec.rules:
            server = self.configuration.servers.get(rule.host.lower() or CATCH_ALL)
            for path in rule.http.paths if rule.http else ():
                kind = EXACT if path.path_type == EXACT else PREFIX
                for location in server.locations if server else ():
                    main = location.upstream
                    if (location.path, location.path_type) != (path.path or "/", kind):
                        continue
                    if main and not location.is_default and main.canary is None:
                        main.canary = canary
                        main.canary_backend = backend_text(namespace, path.backend)

    def _www(self, mains: Sequence[tuple[Ingress, Annotations]]) -> None:
        servers = self.configuration.servers
        for ingress, read in mains:
            if not read.from_to_www:
                continue
            for rule in ingress.spec.rules:
                host = rule.host.lower()
                other = host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"
                if host and other not in servers:
                    servers[other] = NginxServer(other, redirect_to=host)


def _finish(server: NginxServer) -> None:
    """Order the locations and add the exact twin of each prefix (updateServerLocations)."""
    server.locations.sort(key=lambda location: location.path, reverse=True)
    server.locations.sort(key=lambda location: len(location.path), reverse=True)
    exact = {entry.path for entry in server.locations if entry.path_type == EXACT}
    finished: list[Location] = []
    for location in server.locations:
        plain = location.path_type == PREFIX and not (
            location.rewrites or location.annotations.use_regex
        )
        if location.path == "/" or not plain:
            finished.append(location)
            continue
        slashed = location.path if location.path.endswith("/") else location.path + "/"
        finished.append(replace(location, path=slashed))
        if location.path not in exact:
            finished.append(replace(location, path_type=EXACT))
    server.locations = finished
    server.regex = any(entry.rewrites or entry.annotations.use_regex for entry in finished)


def _repeated(server: NginxServer) -> str:
    """A location that stands twice, which nginx refuses; "" if none does."""
    seen: set[tuple[str, str]] = set()
    for location in server.locations:
        modifier = "~*" if server.regex else "=" if location.path_type == EXACT else ""
        key = (modifier, location.path)
        if key in seen and modifier != "~*":
            return f"{modifier} {location.path}".strip()
        seen.add(key)
    return ""
