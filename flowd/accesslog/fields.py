"""What each operator says, as a field of a request record.

An operator that is not here is skipped: the parser passes over its value.
"""

from dataclasses import dataclass

from flowd.accesslog.metadata import NAMESPACES
from flowd.accesslog.operators import Operator
from flowd.accesslog.times import has_form

MILLI, MICRO, NANO = 10**6, 10**3, 1
_UNITS = {"ms": MILLI, "us": MICRO, "ns": NANO}


@dataclass(frozen=True, slots=True)
class Field:
    """Where a value goes.

    Attributes:
        target: a column of REQUEST, one of the names that `rows` merges into columns,
            `header:<name>` for a request header, or `metadata:<what>:<where>` as of
            flowd.accesslog.metadata.
        rank: of two values for one target the lower rank counts, unless it is absent.
        scale: nanoseconds a unit, for durations.
        form: the strftime form of a time that is neither ISO 8601 nor seconds.
    """

    target: str
    rank: int = 0
    scale: int = 1
    form: str = ""


_SIMPLE = {
    "START_TIME_LOCAL": Field("time", 2),
    "DURATION": Field("duration", 1, MILLI),
    "RESPONSE_CODE": Field("status"),
    "RESPONSE_FLAGS": Field("flags"),
    "RESPONSE_FLAGS_LONG": Field("flags", 1),
    "RESPONSE_CODE_DETAILS": Field("details"),
    "CONNECTION_TERMINATION_DETAILS": Field("details", 1),
    "UPSTREAM_TRANSPORT_FAILURE_REASON": Field("transport_failure"),
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": Field("transport_failure", 1),
    "BYTES_RECEIVED": Field("bytes_received"),
    "BYTES_SENT": Field("bytes_sent"),
    "PROTOCOL": Field("http_version"),
    "STREAM_ID": Field("request_id", 1),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": Field("client"),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": Field("client", 1),
    "DOWNSTREAM_REMOTE_ADDRESS": Field("remote"),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": Field("remote", 1),
    "DOWNSTREAM_DIRECT_REMOTE_PORT": Field("client_port"),
    "DOWNSTREAM_REMOTE_PORT": Field("remote_port"),
    "DOWNSTREAM_LOCAL_ADDRESS": Field("local"),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": Field("local", 1),
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS": Field("local", 2),
    "DOWNSTREAM_LOCAL_PORT": Field("local_port"),
    "UPSTREAM_LOCAL_ADDRESS": Field("up_local"),
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": Field("up_local", 1),
    "UPSTREAM_LOCAL_PORT": Field("up_local_port"),
    "UPSTREAM_REMOTE_ADDRESS": Field("up_remote"),
    "UPSTREAM_HOST": Field("up_remote", 1),
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": Field("up_remote", 2),
    "UPSTREAM_REMOTE_PORT": Field("up_remote_port"),
    "UPSTREAM_CLUSTER_RAW": Field("cluster"),
    "UPSTREAM_CLUSTER": Field("cluster", 1),
    "ROUTE_NAME": Field("route_name"),
    "REQUESTED_SERVER_NAME": Field("sni"),
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": Field("attempts"),
    "ACCESS_LOG_TYPE": Field("log_type"),
    "PATH": Field("path_any", 1),
    "FILTER_CHAIN_NAME": Field("metadata:filter_chain:"),
    "LISTENER_NAME": Field("metadata:listener:"),
    "CILIUM_GATEWAY_NAME": Field("metadata:gateway_name:"),
    "CILIUM_GATEWAY_NAMESPACE": Field("metadata:gateway_namespace:"),
}
_REQUEST = {
    ":METHOD": Field("method"),
    "X-ENVOY-ORIGINAL-METHOD?:METHOD": Field("method", 1),
    ":SCHEME": Field("scheme"),
    "X-FORWARDED-PROTO": Field("scheme", 1),
    ":AUTHORITY": Field("host"),
    "HOST": Field("host", 1),
    "X-ENVOY-ORIGINAL-HOST?:AUTHORITY": Field("host_any"),
    ":PATH": Field("path"),
    "X-ENVOY-ORIGINAL-PATH?:PATH": Field("path_any"),
    "X-ENVOY-ORIGINAL-PATH": Field("original_path"),
    "USER-AGENT": Field("user_agent"),
    "X-REQUEST-ID": Field("request_id"),
    "TRACEPARENT": Field("traceparent"),
}
_EXPRESSIONS = {"xds.virtual_host_name": "vhost", "xds.filter_chain_name": "filter_chain"}
_PATHS = {"ORIG": "original_path", "PATH": "path", "ORIG_OR_PATH": "path_any"}
_INTERVALS = {"DS_RX_BEG:DS_TX_END": "duration", "US_TX_BEG:US_RX_BEG": "upstream"}


def field_of(operator: Operator) -> Field | None:
    """The field that an operator fills, or None for one that is skipped."""
    name, argument = operator.name, operator.argument.strip()
    match name:
        case "START_TIME":
            fine = not argument or any(mark in argument for mark in ("f", "%E"))
            rank = 0 if argument and fine else 1
            return Field("time", rank, form="" if has_form(argument) else argument)
        case "REQ" | "REQ_WITHOUT_QUERY":
            return _request(argument.upper())
        case "RESP" if argument.upper() == "X-ENVOY-UPSTREAM-SERVICE-TIME":
            return Field("upstream", 1, MILLI)
        case "COMMON_DURATION":
            interval, _, unit = argument.rpartition(":")
            target = _INTERVALS.get(interval.upper())
            return Field(target, 0, _UNITS[unit]) if target and unit in _UNITS else None
        case "PATH" if argument:
            query, _, which = argument.partition(":")
            target = _PATHS.get(which or "ORIG_OR_PATH")
            return Field(target, 1 if query == "WQ" else 2) if target else None
        case "METADATA" | "DYNAMIC_METADATA":
            return _metadata(name, argument)
        case "CEL" if argument in _EXPRESSIONS:
            return Field(f"metadata:{_EXPRESSIONS[argument]}:")
        case "REQUESTED_SERVER_NAME" if argument:
            # The other forms fall back to the Host header, which is no server name
            return Field("sni", 1) if argument == "SNI_ONLY" else None
        case _:
            return _SIMPLE.get(name)


def _request(names: str) -> Field | None:
    if found := _REQUEST.get(names):
        return found
    first, _, second = names.partition("?")
    if second.startswith(":"):
        return _REQUEST.get(second)
    return Field(f"header:{first.lower()}") if first and not first.startswith(":") else None


def _metadata(name: str, argument: str) -> Field | None:
    """`METADATA(ROUTE:namespace:key...)` and `DYNAMIC_METADATA(namespace:key...)`."""
    where, path = argument.split(":"), 1 if name == "METADATA" else 0
    if len(where) <= path or where[path].strip() not in NAMESPACES:
        return None
    key = where[-1].removeprefix("io.projectcontour.")
    what = key if key in ("kind", "namespace", "name") else "any"
    return Field(f"metadata:{what}:{name}:{argument}")
