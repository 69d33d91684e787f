"""Hubble's filters over one flow.Flow at a time, in the plainest way: what masks must equal."""

import ipaddress
import re
from urllib.parse import unquote, urlsplit

from flowd.wire.flow.flow_pb2 import Endpoint, Flow, FlowFilter, Service


def passes(flow: Flow, white: list[FlowFilter], black: list[FlowFilter]) -> bool:
    if white and not any(matches(flow, one) for one in white):
        return False
    return not any(matches(flow, one) for one in black)


def matches(flow: Flow, wanted: FlowFilter) -> bool:
    return all(
        (
            _ip(flow.IP.source, list(wanted.source_ip)),
            not wanted.source_ip_xlated
            or (
                flow.IP.source_xlated != ""
                and _ip(flow.IP.source_xlated, list(wanted.source_ip_xlated))
            ),
            _names(list(flow.source_names), list(wanted.source_fqdn)),
            _names(list(flow.destination_names), list(wanted.destination_fqdn)),
            not wanted.dns_query
            or (
                flow.l7.HasField("dns")
                and any(re.search(one, flow.l7.dns.query) for one in wanted.dns_query)
            ),
            _ip(flow.IP.destination, list(wanted.destination_ip)),
            _pod(flow.source, list(wanted.source_pod)),
            _pod(flow.destination, list(wanted.destination_pod)),
            _service(flow.source_service, list(wanted.source_service)),
            _service(flow.destination_service, list(wanted.destination_service)),
            _labels(flow.source, list(wanted.source_label)),
            not wanted.verdict or flow.verdict in wanted.verdict,
            not wanted.traffic_direction or flow.traffic_direction in wanted.traffic_direction,
            not wanted.source_identity or flow.source.identity in wanted.source_identity,
            not wanted.ip_version or flow.IP.ipVersion in wanted.ip_version,
            not wanted.destination_port or str(_port(flow)) in wanted.destination_port,
            _reply(flow, list(wanted.reply)),
            _types(flow, wanted),
            _flags(flow, wanted),
            _status(flow, list(wanted.http_status_code)),
            not wanted.http_method or flow.l7.http.method.lower() in _lower(wanted),
            _path(flow, list(wanted.http_path)),
            not wanted.protocol or any(_protocol(flow, one.lower()) for one in wanted.protocol),
        )
    )


def _ip(address: str, wanted: list[str]) -> bool:
    held = ipaddress.ip_address(address)
    return not wanted or any(held in ipaddress.ip_network(one, strict=False) for one in wanted)


def _names(names: list[str], wanted: list[str]) -> bool:
    globs = [re.escape(one).replace(r"\*", "[-.0-9a-z]*") for one in wanted]
    return not wanted or any(re.fullmatch(glob, name) for glob in globs for name in names)


def _prefix(namespace: str, name: str, wanted: list[str]) -> bool:
    def one(value: str) -> bool:
        space, slash, prefix = value.partition("/")
        space, prefix = (space, prefix) if slash else ("default", value)
        return (namespace or name) != "" and space in ("", namespace) and name.startswith(prefix)

    return not wanted or any(one(value) for value in wanted)


def _pod(endpoint: Endpoint, wanted: list[str]) -> bool:
    return _prefix(endpoint.namespace, endpoint.pod_name, wanted)


def _service(service: Service, wanted: list[str]) -> bool:
    return _prefix(service.namespace, service.name, wanted)


def _labels(endpoint: Endpoint, wanted: list[str]) -> bool:
    """Of the grammar only `key=value` and `!key`."""
    held: dict[str, str] = {}
    for label in endpoint.labels:
        name, _, text = label.partition(":")[2].partition("=")
        held[name] = text

    def one(value: str) -> bool:
        key, _, text = value.partition("=")
        return key[1:] not in held if key[0] == "!" else held.get(key) == text

    return not wanted or any(one(value) for value in wanted)


def _port(flow: Flow) -> int | None:
    match flow.l4.WhichOneof("protocol"):
        case "TCP":
            return flow.l4.TCP.destination_port
        case "UDP":
            return flow.l4.UDP.destination_port
        case _:
            return None


def _reply(flow: Flow, wanted: list[bool]) -> bool:
    if not flow.HasField("is_reply"):
        return not wanted or (flow.verdict == 2 and False in wanted)
    return not wanted or flow.is_reply.value in wanted


def _types(flow: Flow, wanted: FlowFilter) -> bool:
    held = flow.event_type
    return not wanted.event_type or any(
        one.type in (0, held.type) and (not one.match_sub_type or one.sub_type == held.sub_type)
        for one in wanted.event_type
    )


def _flags(flow: Flow, wanted: FlowFilter) -> bool:
    if not wanted.tcp_flags:
        return True
    held = {field.name for field, _ in flow.l4.TCP.flags.ListFields()}
    return flow.l4.TCP.HasField("flags") and any(
        {field.name for field, _ in one.ListFields()} <= held for one in wanted.tcp_flags
    )


def _status(flow: Flow, wanted: list[str]) -> bool:
    code = str(flow.l7.http.code)
    return not wanted or (
        code != "0"
        and any(code.startswith(one[:-1]) if one.endswith("+") else code == one for one in wanted)
    )


def _lower(wanted: FlowFilter) -> list[str]:
    return [method.lower() for method in wanted.http_method]


def _path(flow: Flow, wanted: list[str]) -> bool:
    url = flow.l7.http.url
    return not wanted or (
        url != "" and any(re.search(p, unquote(urlsplit(url).path)) for p in wanted)
    )


def _protocol(flow: Flow, wanted: str) -> bool:
    l4 = (flow.l4.WhichOneof("protocol") or "").lower()
    if wanted in ("http", "dns"):
        return flow.l7.WhichOneof("record") == wanted
    return l4 == wanted or (wanted == "icmp" and l4.startswith("icmp"))
