"""A made-up node for `flowd top`: flows, routes and traffic, deterministic."""

import random
from collections import Counter
from collections.abc import Iterator

from google.protobuf import struct_pb2

from flowd.wire.flow import flow_pb2
from flowd.wire.flowd import agent_pb2

BASE_NS = 1_795_262_671_000_000_000  # 2026-11-21T12:04:31Z
GATEWAY = ("infra", "public")
PODS = {
    "shop/web-7f9c": "10.244.1.8",
    "shop/cart-0": "10.244.2.4",
    "shop/redis-0": "10.244.2.9",
    "demo/echo-1-6f5d": "10.244.1.21",
    "demo/echo-2-84bc": "10.244.1.22",
    "infra/envoy-public-0": "10.244.0.7",
    "ops/curl": "10.244.1.17",
}
WORLD = ("203.0.113.9", "198.51.100.4", "2001:db8::9")
HTTP = [  # route, rule, backend, weight of the row, path, 5xx share, milliseconds
    ("demo/echo", 0, "demo/echo-1:3000", 40, "/", 0.0, 4),
    ("demo/echo-split", 0, "demo/echo-1:3000", 95, "/", 0.0, 5),
    ("demo/echo-split", 0, "demo/echo-2:3000", 5, "/", 0.0, 9),
    ("demo/echo-match", 0, "demo/echo-1:3000", 12, "/login", 0.0, 6),
    ("demo/echo-match", 1, "demo/echo-2:3000", 8, "/version", 0.0, 6),
    ("shop/shop", 0, "shop/web:80", 60, "/api/cart", 0.04, 48),
    ("shop/shop", 1, "shop/cart:8080", 20, "/checkout", 0.0, 21),
    ("demo/redirect", 0, "", 4, "/old", 0.0, 0),
    ("", 0, "", 3, "/nowhere", 0.0, 0),
]


def peer(flow: flow_pb2.Flow, side: str, name: str, ip: str) -> None:
    """Fill one side of a flow from `namespace/pod` or `world`."""
    endpoint: flow_pb2.Endpoint = getattr(flow, side)
    setattr(flow.IP, side, ip)
    if "/" not in name:
        endpoint.labels.append("reserved:world")
        return
    endpoint.namespace, endpoint.pod_name = name.split("/")
    app = endpoint.pod_name.rsplit("-", 1)[0]
    endpoint.labels.append(f"k8s:app={app}")
    endpoint.workloads.add(name=app, kind="Deployment")


def extensions(flow: flow_pb2.Flow, **fields: str | int | list[str]) -> None:
    """flowd's extension of a flow."""
    struct = struct_pb2.Struct()
    for name, value in fields.items():
        if value not in ("", []):
            struct[name] = value
    flow.extensions.Pack(struct)


def tcp_flow(index: int, chance: random.Random) -> flow_pb2.Flow:
    """A flow of a connection: some new, some dropped, some replies."""
    flow = flow_pb2.Flow(node_name="kind-worker", verdict=flow_pb2.FORWARDED)
    client, server, port = chance.choice(
        [
            ("shop/web-7f9c", "shop/cart-0", 8080),
            ("shop/cart-0", "shop/redis-0", 6379),
            ("ops/curl", "shop/redis-0", 6379),
            ("world", "infra/envoy-public-0", 443),
            ("infra/envoy-public-0", "demo/echo-1-6f5d", 3000),
        ]
    )
    client_ip = PODS.get(client) or chance.choice(WORLD)
    reply = chance.random() < 0.3 and client != "ops/curl"
    sides = [(client, client_ip, 40000 + index % 20000), (server, PODS[server], port)]
    if reply:
        sides.reverse()
    flow.l4.TCP.source_port, flow.l4.TCP.destination_port = sides[0][2], sides[1][2]
    peer(flow, "source", sides[0][0], sides[0][1])
    peer(flow, "destination", sides[1][0], sides[1][1])
    flow.is_reply.value = reply
    names = ["SYN", "ACK"] if reply else chance.choice([["SYN"], ["PSH", "ACK"], ["FIN", "ACK"]])
    for name in names:
        setattr(flow.l4.TCP.flags, name, True)
    flow.Type, flow.event_type.type = flow_pb2.L3_L4, 4
    if client == "ops/curl":
        flow.verdict, flow.drop_reason_desc = flow_pb2.DROPPED, flow_pb2.POLICY_DENIED
        flow.event_type.type = 1
    else:
        extensions(flow, bytes=chance.randrange(60, 9000), packets=4)
    flow.interface.name = "veth7"
    return flow


def http_flow(index: int, chance: random.Random) -> flow_pb2.Flow:
    """The response to a request through the gateway."""
    route, rule, backend, _, path, errors, millis = chance.choices(HTTP, [row[3] for row in HTTP])[
        0
    ]
    flow = flow_pb2.Flow(node_name="kind-worker", verdict=flow_pb2.FORWARDED, Type=flow_pb2.L7)
    peer(flow, "source", "infra/envoy-public-0", PODS["infra/envoy-public-0"])
    peer(flow, "destination", "world", chance.choice(WORLD))
    flow.l4.TCP.source_port, flow.l4.TCP.destination_port = 80, 40000 + index % 20000
    flow.is_reply.value = True
    failed = chance.random() < errors
    status = 503 if failed else 404 if not route else 302 if not backend else 200
    flow.l7.type, flow.l7.latency_ns = (
        flow_pb2.RESPONSE,
        int(millis * 1e6 * chance.lognormvariate(0, 0.6)),
    )
    flow.l7.http.code, flow.l7.http.method = status, "GET"
    flow.l7.http.url = f"http://{(route or 'x/unknown').split('/')[1]}.example.com{path}"
    flow.trace_context.parent.trace_id = f"{chance.getrandbits(128):032x}"
    flow.event_type.type = 129
    extensions(
        flow,
        gateway="/".join(GATEWAY),
        listener="http",
        route=f"HTTPRoute/{route}" if route else "",
        rule=rule if route else "",
        backend=backend,
        attribution="name" if route else "none",
        reason="" if route else "route_not_found",
        response_flags=["UH"] if failed else [] if route else ["NR"],
    )
    return flow


def flows(count: int, seed: int = 7) -> Iterator[flow_pb2.Flow]:
    """`count` flows, a tenth of a second apart, ending at BASE_NS."""
    chance = random.Random(seed)
    for index in range(count):
        make = http_flow if chance.random() < 0.5 else tcp_flow
        flow = make(index, chance)
        flow.time.FromNanoseconds(BASE_NS - (count - 1 - index) * 100_000_000)
        yield flow


def snapshot(index: int, end_ns: int, seed: int = 7) -> agent_pb2.Snapshot:
    """One second of traffic."""
    chance = random.Random(seed * 100003 + index)
    swing = 1.0 + 0.5 * ((index // 6) % 5) / 4
    message = agent_pb2.Snapshot(
        interval_ns=10**9,
        flows=round(1200 * swing) + chance.randrange(90),
        bytes=12 << 20,
        packets=9000,
        new_connections=40,
        resident_bytes=88 << 20,
        cpu_share=0.031,
    )
    message.time.FromNanoseconds(end_ns)
    for place, reason in (("kernel", "ring_full"), ("queue", "top"), ("series", "routes")):
        message.losses.add(place=place, reason=reason, count=0)
    for route, rule, backend, weight, _, errors, millis in HTTP:
        requests = sum(chance.random() < 0.5 * swing for _ in range(weight))
        if not requests:
            continue
        failed = sum(chance.random() < errors for _ in range(requests))
        ok = 404 if not route else 302 if not backend else 200
        times = Counter(
            max(round(4 * (3.32 * (3 + _log10(max(millis, 0.3))) + chance.gauss(0, 0.7))), 1)
            for _ in range(requests)
        )
        namespace, _, name = route.partition("/")
        where, _, port = backend.partition(":")
        row = message.routes.add(
            gateway_namespace=GATEWAY[0],
            gateway=GATEWAY[1],
            listener="http",
            kind="HTTPRoute" if route else "",
            namespace=namespace,
            name=name,
            rule=rule if route else -1,
            match=0 if route else -1,
            reason="" if route else "route_not_found",
            backend_namespace=where.partition("/")[0],
            backend=where.partition("/")[2],
            backend_port=int(port or 0),
            requests=requests,
            retries=failed // 2,
            attribution="name" if route else "none",
            latency=times,
        )
        if backend:
            known = requests - requests // 8
            spent = round(1000 * millis * known)
            row.split.requests = known
            row.split.client_network_us, row.split.gateway_us = spent // 40, 310 * known
            row.split.pod_network_us, row.split.pod_us = spent // 10, spent * 3 // 4
        row.status.update(
            {status: n for status, n in ((ok, requests - failed), (503, failed)) if n}
        )
        flags = {"UH": failed - failed // 4, "UF": failed // 4, "NR": 0 if route else requests}
        row.response_flags.update({flag: n for flag, n in flags.items() if n})
    return message


def _log10(value: float) -> float:
    import math

    return math.log10(value)


def topology() -> agent_pb2.RoutesResponse:
    """A shared gateway with the routes of a first Gateway API tutorial, one of them broken."""
    gateway = agent_pb2.Gateway(namespace=GATEWAY[0], name=GATEWAY[1], class_name="eg")
    gateway.listeners.add(name="http", port=80, protocol="HTTP")
    gateway.listeners.add(name="https", port=443, protocol="HTTPS", hostname="*.example.com")
    gateway.listeners.add(name="tls", port=8443, protocol="TLS", hostname="db.example.com")
    answer = agent_pb2.RoutesResponse(gateways=[gateway])

    def route(
        name: str,
        host: str,
        rules: list[tuple[str, list[tuple[str, int]]]],
        kind: str = "HTTPRoute",
    ) -> agent_pb2.Route:
        namespace, _, short = name.partition("/")
        made = answer.routes.add(kind=kind, namespace=namespace, name=short, hostnames=[host])
        for listener in ["tls"] if kind == "TLSRoute" else ["http", "https"]:
            parent = made.parents.add(
                gateway_namespace=GATEWAY[0], gateway=GATEWAY[1], listener=listener
            )
            parent.conditions.add(type="Accepted", status=True, reason="Accepted")
            parent.conditions.add(type="ResolvedRefs", status=True, reason="ResolvedRefs")
        for match, backends in rules:
            rule = made.rules.add(matches=[match])
            for backend, weight in backends:
                where, _, port = backend.partition(":")
                space, _, service = where.partition("/")
                rule.backends.add(
                    kind="Service", namespace=space, name=service, port=int(port),
                    weight=weight, ready_endpoints=1, endpoints=1, endpoints_known=True,
                )  # fmt: skip
        return made

    one, two = "demo/echo-1:3000", "demo/echo-2:3000"
    route("demo/echo", "echo.example.com", [("PathPrefix /", [(one, 1)])])
    route("demo/echo-split", "split.example.com", [("PathPrefix /", [(one, 95), (two, 5)])])
    route(
        "demo/echo-match",
        "match.example.com",
        [("PathPrefix /login", [(one, 1)]), ("PathPrefix / header version=2", [(two, 1)])],
    )
    redirect = route("demo/redirect", "old.example.com", [("PathPrefix /", [])])
    redirect.rules[0].filters.append("RequestRedirect 302 to echo.example.com")
    route(
        "shop/shop",
        "shop.example.com",
        [("PathPrefix /api", [("shop/web:80", 1)]), ("PathPrefix /", [("shop/cart:8080", 1)])],
    )
    route("demo/db", "db.example.com", [("", [("demo/db:5432", 1)])], kind="TLSRoute")
    ghost = route("dev/ghost", "ghost.example.com", [("PathPrefix /", [("dev2/api:80", 1)])])
    ghost.rules[0].backends[0].reason = "RefNotPermitted"
    for parent in ghost.parents:
        condition = parent.conditions[1]
        condition.status, condition.reason = False, "RefNotPermitted"
        condition.message = "backend dev2/api needs a ReferenceGrant"
    return answer


def status() -> agent_pb2.StatusResponse:
    """A healthy agent, without OTLP."""
    answer = agent_pb2.StatusResponse(version="0.1.0", node_name="kind-worker", cluster_name="dev")
    for part, state in (("capture", "on"), ("envoy-als", "on"), ("otlp", "off")):
        answer.parts.add(part=part, state=state)
    return answer
