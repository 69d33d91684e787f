"""Map Envoy's command operators to columns of REQUEST.

The parser skips the value of an operator that has no mapping.
"""

from dataclasses import dataclass

from flowd.accesslog.metadata import NAMESPACES
from flowd.accesslog.operators import Operator
from flowd.accesslog.times import is_self_describing

MILLI, MICRO, NANO = 10**6, 10**3, 1
_UNITS = {"ms": MILLI, "us": MICRO, "ns": NANO}


@dataclass(frozen=True, slots=True)
class LogField:
    """The destination of a value.

    Attributes:
        target: a column of REQUEST, a name that flowd.accesslog.raw_to_columns merges into columns,
            `header:<name>` for a request header, or `metadata:<kind>:<source>` with a kind of
            flowd.accesslog.metadata.
        rank: of two present values for one target, the one with the lower rank counts.
        scale: nanoseconds of a unit, for durations.
        form: strftime format of a time that is neither ISO 8601 nor seconds.
    """

    target: str
    rank: int = 0
    scale: int = 1
    form: str = ""


_SIMPLE = {
    "START_TIME_LOCAL": LogField("time", 2),
    "DURATION": LogField("duration", 1, MILLI),
    "RESPONSE_CODE": LogField("status"),
    "RESPONSE_FLAGS": LogField("flags"),
    "RESPONSE_FLAGS_LONG": LogField("flags", 1),
    "RESPONSE_CODE_DETAILS": LogField("details"),
    "CONNECTION_TERMINATION_DETAILS": LogField("details", 1),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": LogField("transport_failure"),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": LogField("transport_failure", 1),
    "BYTES_RECEIVED": LogField("bytes_received"),
    "BYTES_SENT": LogField("bytes_sent"),
    "PROTOCOL": LogField("http_version"),
    "STREAM_ID": LogField("request_id", 1),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": LogField("client"),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": LogField("client", 1),
    "DOWNSTREAM_REMOTE_ADDRESS": LogField("remote"),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": LogField("remote", 1),
    "DOWNSTREAM_DIRECT_REMOTE_PORT": LogField("client_port"),
    "DOWNSTREAM_REMOTE_PORT": LogField("remote_port"),
    "DOWNSTREAM_LOCAL_ADDRESS": LogField("local"),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": LogField("local", 1),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS": LogField("local", 2),
    "DOWNSTREAM_LOCAL_PORT": LogField("local_port"),
    "UPSTREAM_LOCAL_ADDRESS": LogField("up_local"),
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": LogField("up_local", 1),
    "UPSTREAM_LOCAL_PORT": LogField("up_local_port"),
    "UPSTREAM_REMOTE_ADDRESS": LogField("up_remote"),
    "UPSTREAM_HOST": LogField("up_remote", 1),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": LogField("up_remote", 2),
    "UPSTREAM_REMOTE_PORT": LogField("up_remote_port"),
    "UPSTREAM_CLUSTER_RAW": LogField("cluster"),
    "UPSTREAM_CLUSTER": LogField("cluster", 1),
    "ROUTE_NAME": LogField("route_name"),
    "REQUESTED_SERVER_NAME": LogField("sni"),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": LogField("attempts"),
    "ACCESS_LOG_TYPE": LogField("log_type"),
    "PATH": LogField("path_any", 1),
    "FILTER_CHAIN_NAME": LogField("metadata:filter_chain:"),
    "LISTENER_NAME": LogField("metadata:listener:"),
    "CILIUM_GATEWAY_NAME": LogField("metadata:gateway_name:"),
    "CILIUM_GATEWAY_NAMESPACE": LogField("metadata:gateway_namespace:"),
}
_REQUEST = {
    ":METHOD": LogField("method"),
    "X-ENVOY-ORIGINAL-METHOD?:METHOD": LogField("method", 1),
    ":SCHEME": LogField("scheme"),
    "X-FORWARDED-PROTO": LogField("scheme", 1),
    ":AUTHORITY": LogField("host"),
    "HOST": LogField("host", 1),
    "X-ENVOY-ORIGINAL-HOST?:AUTHORITY": LogField("host_any"),
    ":PATH": LogField("path"),
    "X-ENVOY-ORIGINAL-PATH?:PATH": LogField("path_any"),
    "X-ENVOY-ORIGINAL-PATH": LogField("original_path"),
    "USER-AGENT": LogField("user_agent"),
    "X-REQUEST-ID": LogField("request_id"),
    "TRACEPARENT": LogField("traceparent"),
}
_EXPRESSIONS = {"xds.virtual_host_name": "vhost", "xds.filter_chain_name": "filter_chain"}
_PATHS = {"ORIG": "original_path", "PATH": "path", "ORIG_OR_PATH": "path_any"}
_INTERVALS = {"DS_RX_BEG:DS_TX_END": "duration", "US_TX_BEG:US_RX_BEG": "upstream"}


def field_of(operator: Operator) -> LogField | None:
    """The field of an operator, or None for an operator to skip."""
    name, argument = operator.name, operator.argument.strip()
    match name:
        case "START_TIME":
            fine = not argument or any(mark in argument for mark in ("f", "%E"))
            rank = 0 if argument and fine else 1
            return LogField("time", rank, form="" if is_self_describing(argument) else argument)
        case "REQ" | "REQ_WITHOUT_QUERY":
            return _request(argument.upper())
        case "RESP" if argument.upper() == "X-ENVOY-UPSTREAM-SERVICE-TIME":
            return LogField("upstream", 1, MILLI)
        case "COMMON_DURATION":
            interval, _, unit = argument.rpartition(":")
            target = _INTERVALS.get(interval.upper())
            return LogField(target, 0, _UNITS[unit]) if target and unit in _UNITS else None
        case "PATH" if argument:
            query, _, which = argument.partition(":")
            target = _PATHS.get(which or "ORIG_OR_PATH")
            return LogField(target, 1 if query == "WQ" else 2) if target else None
        case "METADATA" | "DYNAMIC_METADATA":
            return _metadata(name, argument)
        case "CEL" if argument in _EXPRESSIONS:
            return LogField(f"metadata:{_EXPRESSIONS[argument]}:")
        case "REQUESTED_SERVER_NAME" if argument:
            # The other arguments fall back to the Host header, which is no server name
            return LogField("sni", 1) if argument == "SNI_ONLY" else None
        case _:
            return _SIMPLE.get(name)


def _request(names: str) -> LogField | None:
    if found := _REQUEST.get(names):
        return found
    first, _, second = names.partition("?")
    if second.startswith(":"):
        return _REQUEST.get(second)
    return LogField(f"header:{first.lower()}") if first and not first.startswith(":") else None


def _metadata(name: str, argument: str) -> LogField | None:
    """`METADATA(ROUTE:namespace:key...)` and `DYNAMIC_METADATA(namespace:key...)`."""
    where, path = argument.split(":"), 1 if name == "METADATA" else 0
    if len(where) <= path or where[path].strip() not in NAMESPACES:
        return None
    key = where[-1].removeprefix("io.projectcontour.")
    kind = key if key in ("kind", "namespace", "name") else "any"
    return LogField(f"metadata:{kind}:{name}:{argument}")
