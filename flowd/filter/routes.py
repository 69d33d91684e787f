"""flowd's own flow filters: gateway, listener, route, backend, attribution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from google.protobuf import any_pb2, struct_pb2
from google.protobuf.message import DecodeError

from flowd.filter.grammar.errors import FilterError
from flowd.filter.tables import RegistryTest, SetTest, Test
from flowd.model.directory import Directory
from flowd.model.enums import Attribution
from flowd.model.route import BackendRef, RouteRef


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """Filter values by kind: a flow must match one value of every kind with values.

    Attributes:
        gateway: `namespace/name`.
        listener: the listener's name.
        route: `[Kind/]namespace/name`.
        backend: `namespace/name[:port]`.
        attribution: `name`, `metadata`, `resolver`, `cluster`, `listener` or `none`.
    """

    gateway: tuple[str, ...] = ()
    listener: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    backend: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()

    def pack(self) -> any_pb2.Any:
        """Encode the filter as the Any of GetFlowsRequest.extensions."""
        struct = struct_pb2.Struct()
        struct.update({f.name: list(getattr(self, f.name)) for f in fields(self)})
        packed = any_pb2.Any()
        packed.Pack(struct)
        return packed

    def tests(self, directory: Directory) -> list[Test]:
        """One test over rows for each kind with values.

        Raises:
            FilterError: a value has the wrong form.
        """
        routes, backend, attributions = self.predicates()
        found: list[Test] = [RegistryTest("route", directory.routes, one) for one in routes]
        if backend:
            found.append(RegistryTest("backend", directory.backends, backend))
        if attributions:
            found.append(SetTest("attribution", attributions))
        return found

    def predicates(
        self,
    ) -> tuple[
        list[Callable[[RouteRef], bool]], Callable[[BackendRef], bool] | None, list[Attribution]
    ]:
        """Predicates of the route (all must pass) and of the backend, and the attributions.

        Raises:
            FilterError: a value has the wrong form.
        """
        parts = (_gateway(self.gateway), _listener(self.listener), _route(self.route))
        routes = [part for part in parts if part]
        return routes, _backend(self.backend), [_attribution(one) for one in self.attribution]


def route_filter(extensions: any_pb2.Any) -> RouteFilter:
    """Decode the filter from GetFlowsRequest.extensions; an empty Any is an empty filter.

    Raises:
        FilterError: another message type, an unknown key, or values that are not strings.
    """
    if not extensions.type_url:
        return RouteFilter()
    struct = struct_pb2.Struct()
    try:
        if not extensions.Unpack(struct):
            raise FilterError(f"extensions: {extensions.type_url!r} is not google.protobuf.Struct")
    except DecodeError:
        raise FilterError("extensions: not a readable google.protobuf.Struct") from None
    return RouteFilter(**{key: _strings(key, struct.fields) for key in struct.fields})


_KINDS = tuple(field.name for field in fields(RouteFilter))


def _strings(key: str, fields: Mapping[str, struct_pb2.Value]) -> tuple[str, ...]:
    if key not in _KINDS:
        raise FilterError(f"extensions: unknown filter {key!r}; one of {', '.join(_KINDS)}")
    value = fields[key]
    values = list(value.list_value.values) if value.HasField("list_value") else [value]
    if not all(one.HasField("string_value") for one in values):
        raise FilterError(f"extensions: {key} must be a list of strings")
    return tuple(one.string_value for one in values)


def _parts(kind: str, value: str, form: str, lengths: tuple[int, ...]) -> list[str]:
    parts = value.split("/")
    if len(parts) not in lengths or not all(parts):
        raise FilterError(f"{kind}: {value!r} is not {form}")
    return parts


def _gateway(values: tuple[str, ...]) -> Callable[[RouteRef], bool] | None:
    for value in values:
        _parts("gateway", value, "namespace/name", (2,))
    return (lambda ref: ref.gateway_id in values) if values else None


def _listener(values: tuple[str, ...]) -> Callable[[RouteRef], bool] | None:
    if "" in values:
        raise FilterError("listener: '' is not a listener's name")
    return (lambda ref: ref.listener in values) if values else None


def _route(values: tuple[str, ...]) -> Callable[[RouteRef], bool] | None:
    for value in values:
        _parts("route", value, "[Kind/]namespace/name", (2, 3))

    def matches(ref: RouteRef) -> bool:
        return bool(ref.kind) and (
            ref.route_id in values or f"{ref.namespace}/{ref.name}" in values
        )

    return matches if values else None


def _backend(values: tuple[str, ...]) -> Callable[[BackendRef], bool] | None:
    for value in values:
        name, colon, port = value.partition(":")
        _parts("backend", name, "namespace/name[:port]", (2,))
        if colon and not (port.isascii() and port.isdigit()):
            raise FilterError(f"backend: {value!r} is not namespace/name[:port]")

    def matches(ref: BackendRef) -> bool:
        return bool(ref.name) and (
            ref.backend_id in values or f"{ref.namespace}/{ref.name}" in values
        )

    return matches if values else None


def _attribution(value: str) -> Attribution:
    try:
        return Attribution[value.upper()]
    except KeyError:
        names = ", ".join(name.lower() for name in Attribution.__members__)
        raise FilterError(f"attribution: unknown value {value!r}; one of {names}") from None
