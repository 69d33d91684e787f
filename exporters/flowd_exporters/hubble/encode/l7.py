"""`l7` and `Summary` of flow.Flow for HTTP requests, HTTP responses and DNS messages."""

from collections.abc import Mapping

from flowd.filter.endpoints import utf8
from flowd.model.enums import L7Protocol, L7Type
from flowd.model.records.dns import Dns
from flowd.wire import names
from flowd.wire.flow.flow_pb2 import DNS, HTTP, HTTPHeader, Layer7
from flowd_exporters.hubble.encode.ring_row import HeaderPairs
from flowd_exporters.hubble.encode.row import FlowRow

OBSERVATION_SOURCE = "packet"
"""DNS.observation_source: messages are read from packets, not by a proxy."""

_NS_PER_MS = 1_000_000
_NO_DNS = Dns("", "")


def is_dns(row: FlowRow) -> bool:
    """Whether an L7 row is a DNS message; all others are HTTP."""
    return row.l7_protocol == L7Protocol.DNS


def dns_of(row: FlowRow) -> Dns:
    """The DNS message of a row; an empty one for a row without it."""
    return row.dns or _NO_DNS


def layer7(row: FlowRow) -> Layer7:
    """`l7` of a row with an L7 type."""
    if is_dns(row):
        return Layer7(type=row.l7_type, latency_ns=row.latency_ns, dns=_dns(dns_of(row)))
    return Layer7(
        type=row.l7_type,
        latency_ns=row.latency_ns,
        http=HTTP(
            code=row.status,
            method=utf8(row.method or ""),
            url=utf8(row.url or ""),
            protocol=http_version(row),
            headers=[HTTPHeader(key=utf8(k), value=utf8(v)) for k, v in http_headers(row).items()],
        ),
    )


def _dns(message: Dns) -> DNS:
    return DNS(
        query=utf8(message.query),
        ips=map(utf8, message.ips),
        ttl=message.ttl,
        cnames=map(utf8, message.cnames),
        observation_source=OBSERVATION_SOURCE,
        rcode=message.rcode,
        qtypes=[utf8(message.qtype)] if message.qtype else None,
        rrtypes=map(utf8, message.rrtypes),
    )


def l7_summary(row: FlowRow) -> str:
    """Hubble's one-line text of a row with an L7 type."""
    if is_dns(row):
        return _dns_summary(dns_of(row), row.l7_type)
    method, url = utf8(row.method or ""), utf8(row.url or "")
    return http_summary(row.l7_type, row.status, row.latency_ns, method, url, http_version(row))


def http_summary(
    kind: int, status: int, latency_ns: int, method: str, url: str, protocol: str
) -> str:
    """Hubble's one-line text of an HTTP request or response."""
    version = protocol or "HTTP"
    if kind == L7Type.REQUEST:
        return f"{version} {method} {url}"
    return f"{version} {status} {latency_ns // _NS_PER_MS}ms ({method} {url})"


def _dns_summary(message: Dns, kind: int) -> str:
    question = f"{utf8(message.query)} {utf8(message.qtype)}"
    if kind == L7Type.REQUEST:
        return f"DNS Query {question}"
    if message.rcode:
        answer = f"RCode: {names.rcode(message.rcode)}"
    else:
        answer = f'"{utf8(",".join(message.ips))}"'
    if message.cnames:
        answer += f' CNAMEs: "{utf8(",".join(message.cnames))}"'
    return f"DNS Answer {answer} TTL: {message.ttl} (Query {question})"


def http_version(row: FlowRow) -> str:
    """`HTTP/1.1` and the like; "" when Envoy did not log it."""
    return version_name(row.http_version)


def version_name(number: int) -> str:
    """Name of an HttpVersion; "" for an unknown number."""
    known = names.HTTP_VERSIONS
    return known[number] if number < len(known) else ""


def http_headers(row: FlowRow) -> dict[str, str]:
    """The logged headers, and the request id as `x-request-id`."""
    return all_headers(row.headers, row.request_id)


def all_headers(
    logged: Mapping[str, str] | HeaderPairs | None, request_id: str | None
) -> dict[str, str]:
    """As `http_headers`, from the values of a row."""
    headers = dict(logged.items()) if logged else {}
    if request_id:
        headers.setdefault("x-request-id", request_id)
    return headers
