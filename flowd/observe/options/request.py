"""Build the GetFlowsRequest of `flowd observe`: selection, filters, field mask."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from flowd.errors import UsageError
from flowd.observe.options.filters import FilterArgument, build_filters
from flowd.observe.options.times import parse_time
from flowd.wire.flow.flow_pb2 import Flow, FlowFilter
from flowd.wire.json import flow_to_json
from flowd.wire.observer.observer_pb2 import GetFlowsRequest

DEFAULT_LAST = 20
ALL_FLOWS = 2**64 - 1
"""Value of GetFlowsRequest.number for all stored flows."""

_HUBBLE_MASK = """
time verdict ethernet IP l4 source.identity source.namespace source.pod_name destination.identity
destination.namespace destination.pod_name Type node_name l7 event_type source_service
destination_service is_reply Summary ip_trace_id
"""
_MISSING_IN_HUBBLE = """
source_names destination_names traffic_direction policy_match_type sock_xlate_point
debug_capture_point auth_type
"""

PRINTED_FIELDS = tuple(f"{_HUBBLE_MASK}{_MISSING_IN_HUBBLE}".split())
"""Fields printed by compact, dict and table: hubble's default mask, and fields that it lacks."""

POLICY_FIELDS = ("egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by")
"""Fields that `--print-policy-names` adds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Selection of flows by count and time; `default` is the count without any of these flags."""

    all: bool = False
    first: int | None = None
    last: int | None = None
    follow: bool = False
    since: str = ""
    until: str = ""
    default: int = DEFAULT_LAST

    def apply(self, request: GetFlowsRequest, now_ns: int) -> None:
        """Set the selection on a request.

        Args:
            now_ns: Unix time that durations in `since` and `until` count from.

        Raises:
            UsageError: flags exclude each other, or a time cannot be parsed.
        """
        flags = {"first": self.first is not None, "last": self.last is not None}
        flags |= {"all": self.all, "follow": self.follow}
        pairs = [("first", "last"), ("first", "all"), ("first", "follow"), ("last", "all")]
        for one, other in pairs:
            if flags[one] and flags[other]:
                raise UsageError(f"--{one} and --{other} cannot be used together")
        request.follow = self.follow
        if self.all:
            request.number = ALL_FLOWS
        elif self.first is not None:
            request.number, request.first = self.first, True
        elif self.last is not None:
            request.number = self.last
        elif not (self.follow or self.since or self.until):
            request.number = self.default
        if self.since:
            request.since.CopyFrom(_time("--since", self.since, now_ns))
        if self.until and not self.follow:
            request.until.CopyFrom(_time("--until", self.until, now_ns))


def apply_routes(request: GetFlowsRequest, values: dict[str, tuple[str, ...]]) -> None:
    """Set flowd's own filters on a request: a google.protobuf.Struct of lists in `extensions`."""
    struct = Struct()
    struct.update({key: list(texts) for key, texts in values.items() if texts})
    if struct.fields:
        request.extensions.Pack(struct)


def apply_filters(
    request: GetFlowsRequest,
    arguments: Iterable[FilterArgument],
    allow: Iterable[str],
    deny: Iterable[str],
) -> None:
    """Set filter flags and raw filters (JSON texts of --allowlist and --denylist) on a request.

    Raises:
        UsageError: a value, a combination or a JSON text cannot be used.
    """
    whitelist, blacklist = build_filters(arguments)
    request.whitelist.extend([*whitelist, *raw_filters("--allowlist", allow)])
    request.blacklist.extend([*blacklist, *raw_filters("--denylist", deny)])


def raw_filters(flag: str, texts: Iterable[str]) -> list[FlowFilter]:
    """Parse FlowFilters from JSON texts, each with any number of objects.

    Raises:
        UsageError: a text is not JSON or not a FlowFilter.
    """
    texts = list(texts)
    if not texts:
        return []
    from flowd.filter.grammar.errors import FilterError
    from flowd.filter.grammar.raw import parse_filters

    try:
        return [one for text in texts for one in parse_filters(text)]
    except FilterError as error:
        raise UsageError(f"{flag}: {error.message}", error.hint) from None


def field_mask(paths: Iterable[str]) -> FieldMask:
    """Field mask of `--field-mask a,b`.

    Raises:
        UsageError: flow.Flow has no such path.
    """
    mask = FieldMask(paths=[path for text in paths for path in text.split(",") if path])
    for path in mask.paths:
        descriptor = Flow.DESCRIPTOR
        for name in path.split("."):
            part = descriptor.fields_by_name.get(name) if descriptor else None
            if part is None:
                raise UsageError(f"--field-mask: a flow has no field {path!r}")
            descriptor = part.message_type
    return mask


def raw_filters_yaml(request: GetFlowsRequest) -> str:
    """Output of `--print-raw-filters`: the filters as YAML for a configuration file."""
    text = ""
    for name, filters in (("allowlist", request.whitelist), ("denylist", request.blacklist)):
        if filters:
            quoted = (flow_to_json(one).replace("'", "''") for one in filters)
            text += f"{name}:\n" + "".join(f"    - '{line}'\n" for line in quoted)
    return text or "{}\n"


def _time(flag: str, text: str, now_ns: int) -> Timestamp:
    stamp = Timestamp()
    try:
        stamp.FromNanoseconds(parse_time(text, now_ns))
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None
    return stamp
