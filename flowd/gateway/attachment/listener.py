"""A Gateway's listener and what is attached to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from flowd.gateway.matching.hostname import ANY, matching, specificity
from flowd.gateway.matching.rules import Route, RouteKey
from flowd.gateway.matching.virtual_host import Candidate, VirtualHost
from flowd.kubernetes.objects import gateway_api as gw

HTTP_KINDS = ("HTTPRoute", "GRPCRoute")
_REQUEST_KINDS = (*HTTP_KINDS, "Ingress")
_TLS_PROTOCOLS = ("HTTPS", "TLS")


@dataclass(slots=True)
class Listener:
    """One listener; `hostname` is `*` when it has none.

    Attributes:
        number: its place among all listeners of a table.
        set_id: `namespace/name` of the ListenerSet it is from, or "".
        problem: why it serves nothing, in the API's words (`HostnameConflict`), or "".
        one_label: `*` in a route's hostname stands for one label, as in an Ingress.
        shares_hosts: its virtual hosts are those of other ports too, so that it takes any host.
        vhosts: by hostname, of HTTPRoutes, GRPCRoutes and Ingresses.
        streams: by SNI hostname, of TLSRoutes; TCPRoutes and UDPRoutes are under `*`.
        rewriters: matches of rules that change host or path before it is logged.
        attached: the routes that it accepts.
        accepted: these with their hostnames, as they were handed over.
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
        """Its name, after that of its ListenerSet if it has one: these may repeat names."""
        return f"{self.set_id}/{self.name}" if self.set_id else self.name

    @property
    def is_tls(self) -> bool:
        """Whether SNI chooses among listeners of its port."""
        return self.protocol in _TLS_PROTOCOLS

    @property
    def is_http(self) -> bool:
        return self.protocol in ("HTTP", "HTTPS")

    def bare(self) -> "Listener":
        """The same listener with nothing attached."""
        return Listener(
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

    def attach(self, routes: list[tuple[Route, str]], before: "Listener | None" = None) -> None:
        """Take in the accepted routes, each once for every hostname that it has here.

        Args:
            before: the listener of an earlier table, whose virtual hosts of the same routes are
                taken over.
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
            if vhost is None or not vhost.is_of(competing):
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
        """The virtual host that a normal host falls into."""
        for hostname in matching(host):
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
        """The match that takes an HTTP request; arguments as VirtualHost.find."""
        vhost = self.vhost(host)
        return vhost.find(path, query, method, headers) if vhost else None

    def stream(self, sni: str) -> Candidate | None:
        """The route that takes a connection: by its server name, or any."""
        for hostname in matching(sni) if sni else (ANY,):
            if (route := self.streams.get(hostname)) and route.rules:
                return Candidate(route, route.rules[0], route.rules[0].matches[0])
        return None


def _same(one: list[tuple[Route, str]], other: list[tuple[Route, str]]) -> bool:
    return len(one) == len(other) and all(
        left[0] is right[0] and left[1] == right[1] for left, right in zip(one, other, strict=True)
    )


def choose(listeners: Iterable[Listener], sni: str, host: str) -> list[Listener]:
    """The listeners of one port that a connection or request may belong to.

    The most specific hostname takes it and nothing falls through to a wider one; what several
    Gateways share stays together. Empty when no hostname covers it.

    Args:
        sni: server name of a TLS connection, "" for none.
        host: normal host of an HTTP request, "" for none.
    """
    covering: dict[str, list[Listener]] = {}
    listeners = list(listeners)
    for listener in listeners:
        name = (sni or host) if listener.is_tls else host
        if listener.hostname in (matching(name) if name else (ANY,)):
            covering.setdefault(listener.hostname, []).append(listener)
    if not covering:
        return [listener for listener in listeners if listener.shares_hosts]
    return covering[max(covering, key=specificity)]


def supported_kinds(listener: gw.Listener) -> tuple[str, ...]:
    """Route kinds that a listener's protocol can take (gateway-api, apis/v1/gateway_types.go)."""
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
