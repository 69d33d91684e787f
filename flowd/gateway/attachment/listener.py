"""Listener of a Gateway with its attached routes, and selection among listeners of one port."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flowd.gateway.matching.hostname import ANY, covering_hostnames, specificity
from flowd.gateway.matching.rules import Route, RouteKey
from flowd.gateway.matching.virtual_host import Candidate, VirtualHost
from flowd.kubernetes.objects import gateway_api as gw

HTTP_KINDS = ("HTTPRoute", "GRPCRoute")
_REQUEST_KINDS = (*HTTP_KINDS, "Ingress")
_TLS_PROTOCOLS = ("HTTPS", "TLS")


@dataclass(slots=True)
class ListenerState:
    """One listener with its attached routes; `hostname` is `*` when the listener has none.

    Attributes:
        number: position among all listeners of a table.
        set_id: `namespace/name` of the ListenerSet that defines the listener, or "".
        problem: why the listener serves nothing, as an API reason (`HostnameConflict`), or "".
        one_label: `*` in the hostname of a route stands for exactly one label, as in an Ingress.
        shares_hosts: the listener shares virtual hosts with other ports, so it accepts any host.
        vhosts: virtual hosts of HTTPRoutes, GRPCRoutes and Ingresses by hostname.
        streams: TLSRoutes by SNI hostname; TCPRoutes and UDPRoutes under `*`.
        rewriters: matches of rules that rewrite host or path before the request is logged.
        attached: keys of the accepted routes.
        accepted: accepted routes, each with a hostname to match under, as given to `attach`.
    """

    gateway_namespace: str
    gateway: str
    name: str
    port: int
    protocol: str
    hostname: str
    number: int = 0
    set_id: str = ""
    problem: str = ""
    one_label: bool = False
    shares_hosts: bool = False
    vhosts: dict[str, VirtualHost] = field(default_factory=dict[str, VirtualHost])
    streams: dict[str, Route] = field(default_factory=dict[str, Route])
    rewriters: list[Candidate] = field(default_factory=list[Candidate])
    attached: set[RouteKey] = field(default_factory=set[RouteKey])
    accepted: list[tuple[Route, str]] = field(default_factory=list[tuple[Route, str]])

    @property
    def gateway_id(self) -> str:
        return f"{self.gateway_namespace}/{self.gateway}"

    @property
    def full_name(self) -> str:
        """Name of the listener, after the name of its ListenerSet: sets may repeat names."""
        return f"{self.set_id}/{self.name}" if self.set_id else self.name

    @property
    def is_tls(self) -> bool:
        """Whether SNI selects among the listeners of the port."""
        return self.protocol in _TLS_PROTOCOLS

    @property
    def is_http(self) -> bool:
        return self.protocol in ("HTTP", "HTTPS")

    def without_routes(self) -> "ListenerState":
        """Copy of the listener without attached routes."""
        return ListenerState(
            self.gateway_namespace,
            self.gateway,
            self.name,
            self.port,
            self.protocol,
            self.hostname,
            self.number,
            self.set_id,
            self.problem,
        )

    def attach(
        self, routes: list[tuple[Route, str]], before: "ListenerState | None" = None
    ) -> None:
        """Attach the accepted routes.

        Args:
            routes: accepted routes, each once for every hostname to match under.
            before: the listener of an earlier table; virtual hosts of unchanged routes are reused.
        """
        if self.problem:
            return
        self.accepted = routes
        if before and _same(routes, before.accepted):
            self.vhosts, self.streams = before.vhosts, before.streams
            self.rewriters, self.attached = before.rewriters, before.attached
            return
        by_host: dict[str, list[Route]] = {}
        for route, hostname in sorted(routes, key=lambda pair: pair[0].age):
            self.attached.add(route.key)
            if route.kind in _REQUEST_KINDS:
                by_host.setdefault(hostname, []).append(route)
            else:
                self.streams.setdefault(hostname, route)
        built: dict[tuple[int, ...], VirtualHost] = {}
        for hostname, competing in by_host.items():
            vhost = before.vhosts.get(hostname) if before else None
            if vhost is None or not vhost.built_from(competing):
                key = tuple(map(id, competing))
                if key in built:
                    self.vhosts[hostname] = replace(built[key], hostname=hostname)
                    continue
                vhost = built[key] = VirtualHost.build(hostname, competing)
            self.vhosts[hostname] = vhost
            self.rewriters += vhost.rewriters
        if before and before.attached == self.attached:
            self.attached = before.attached

    def vhost(self, host: str) -> VirtualHost | None:
        """The virtual host for a normalized host, or None."""
        for hostname in covering_hostnames(host):
            if (found := self.vhosts.get(hostname)) and not (
                self.one_label
                and hostname.startswith("*.")
                and host.count(".") != hostname.count(".")
            ):
                return found
        return None

    def find(
        self, host: str, path: str, query: str, method: str, headers: Mapping[str, str]
    ) -> Candidate | None:
        """The match that accepts an HTTP request; arguments as VirtualHost.find."""
        vhost = self.vhost(host)
        return vhost.find(path, query, method, headers) if vhost else None

    def stream(self, sni: str) -> Candidate | None:
        """The route that accepts a connection, by server name; without SNI the one under `*`."""
        for hostname in covering_hostnames(sni) if sni else (ANY,):
            if (route := self.streams.get(hostname)) and route.rules:
                return Candidate(route, route.rules[0], route.rules[0].matches[0])
        return None


def _same(one: list[tuple[Route, str]], other: list[tuple[Route, str]]) -> bool:
    return len(one) == len(other) and all(
        left[0] is right[0] and left[1] == right[1] for left, right in zip(one, other, strict=True)
    )


def select_listeners(
    listeners: Iterable[ListenerState], sni: str, host: str
) -> list[ListenerState]:
    """Select the listeners of one port for a connection or request.

    The listeners with the most specific covering hostname are selected, without fallback to a less
    specific one; several Gateways may have listeners of that hostname. Empty when no hostname
    covers the name.

    Args:
        sni: server name of a TLS connection, "" for none.
        host: normalized host of an HTTP request, "" for none.
    """
    covering: dict[str, list[ListenerState]] = {}
    listeners = list(listeners)
    for listener in listeners:
        name = (sni or host) if listener.is_tls else host
        if listener.hostname in (covering_hostnames(name) if name else (ANY,)):
            covering.setdefault(listener.hostname, []).append(listener)
    if not covering:
        return [listener for listener in listeners if listener.shares_hosts]
    return covering[max(covering, key=specificity)]


def supported_kinds(listener: gw.Listener) -> tuple[str, ...]:
    """Route kinds of a listener protocol (gateway-api, apis/v1/gateway_types.go)."""
    match listener.protocol:
        case "HTTP" | "HTTPS":
            return HTTP_KINDS
        case "TLS":
            return ("TLSRoute",) if listener.tls.mode == "Passthrough" else ("TLSRoute", "TCPRoute")
        case "TCP":
            return ("TCPRoute",)
        case "UDP":
            return ("UDPRoute",)
        case _:
            return ()
