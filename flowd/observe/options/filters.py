"""Build FlowFilters from filter flags, as hubble's CLI does.

Every flag adds to two alternative filters, left and right: a flag for both sides adds its value to
the source of the left one and to the destination of the right one, all others add it to both. Two
equal filters are sent as one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

from flowd.errors import UsageError
from flowd.observe.options.flags import FLAGS, FilterFlag
from flowd.wire.flow.flow_pb2 import FlowFilter

SIDES = ("source", "destination")
_PREFIXES = {"": SIDES, "from-": ("source", "source"), "to-": ("destination", "destination")}


@dataclass(frozen=True, slots=True)
class FilterArgument:
    """A filter flag of the command line: long name without dashes, value, `--not` before it."""

    name: str
    value: str
    negated: bool = False


def build_filters(arguments: Iterable[FilterArgument]) -> tuple[list[FlowFilter], list[FlowFilter]]:
    """Allowlist and denylist of the flags, each of at most two filters.

    Raises:
        UsageError: a value cannot be used, or flags exclude each other.
    """
    allow, deny = _FilterPair(), _FilterPair()
    for argument in arguments:
        (deny if argument.negated else allow).add(argument)
    return allow.finish(), deny.finish()


def _sided_names() -> Iterator[tuple[str, tuple[FilterFlag, tuple[str, str]]]]:
    for flag in FLAGS:
        for prefix, sides in _PREFIXES.items():
            if flag.sided:
                yield prefix + flag.name, (flag, sides)
        if not flag.sided:
            yield flag.name, (flag, ("", ""))


BY_NAME = dict(_sided_names())
"""Flag name to its FilterFlag and its side in the left and in the right filter."""


def _mirrored(group: str) -> list[str]:
    return [group, group.replace("from-", "to-")]


EXCLUSIVE = [
    frozenset(group.split())
    for group in (
        *_mirrored(
            "from-fqdn from-ip ip fqdn from-namespace namespace from-all-namespaces all-namespaces"
        ),
        *_mirrored("from-fqdn from-ip ip fqdn from-pod pod"),
        *_mirrored("from-pod namespace all-namespaces"),
        *_mirrored("from-service namespace all-namespaces"),
        *(
            group
            for name in ("label", "service", "port", "identity", "workload")
            for group in _mirrored(f"{name} from-{name}")
        ),
        "encrypted unencrypted",
    )
]
"""Groups of flags of which only one may be given."""


@dataclass(slots=True)
class _Scope:
    """Namespaces, pods and services of one side, which together make its pod and service names."""

    namespaces: list[str] = field(default_factory=list[str])
    pods: list[str] = field(default_factory=list[str])
    services: list[str] = field(default_factory=list[str])

    def add(self, name: str, value: str) -> None:
        match name:
            case "pod":
                self.pods.append(value)
            case "service":
                self.services.append(value)
            case _:
                self.namespaces.append(value.rstrip("/"))

    def write(self, filters: FlowFilter, side: str) -> None:
        pods, services = self._qualified(self.pods), self._qualified(self.services)
        for pod, service in product(pods, services):
            pod_namespace, service_namespace = _namespace(pod), _namespace(service)
            if pod_namespace and service_namespace and pod_namespace != service_namespace:
                raise UsageError(f"pod {pod} and service {service} are of different namespaces")
        if not pods and not services:
            pods = [f"{namespace}/" for namespace in self.namespaces]
        getattr(filters, f"{side}_pod").extend(pods)
        getattr(filters, f"{side}_service").extend(services)

    def _qualified(self, names: list[str]) -> list[str]:
        if not self.namespaces:
            return names
        qualified: list[str] = []
        for name in names:
            if "/" not in name:
                qualified += [f"{namespace}/{name}" for namespace in self.namespaces]
            elif _namespace(name) in ("", *self.namespaces):
                qualified.append(name)
            else:
                raise UsageError(f"{name} is not in namespace {', '.join(self.namespaces)}")
        return qualified


def _namespace(name: str) -> str:
    """Namespace of `ns/name`: `default` for a bare name, "" (any) for `/name`."""
    namespace, slash, _ = name.partition("/")
    return namespace if slash else "default"


class _FilterPair:
    """The left and the right filter of an allowlist or a denylist, while flags are added."""

    def __init__(self) -> None:
        self._filters = (FlowFilter(), FlowFilter())
        self._scopes = tuple({side: _Scope() for side in SIDES} for _ in self._filters)
        self._used: set[str] = set()

    def add(self, argument: FilterArgument) -> None:
        """Add one flag's value to both filters."""
        flag, sides = BY_NAME[argument.name]
        self._used.add(argument.name)
        for filters, scopes, side in zip(self._filters, self._scopes, sides, strict=True):
            if flag.add_value is None:
                scopes[side].add(flag.name, argument.value)
                continue
            try:
                flag.add_value(filters, side, argument.value)
            except ValueError as error:
                raise UsageError(f"--{argument.name}: {error}") from None

    def finish(self) -> list[FlowFilter]:
        """The filters that have a condition; equal ones only once."""
        for group in EXCLUSIVE:
            used = sorted(self._used & group)
            if len(used) > 1:
                raise UsageError(f"--{used[0]} and --{used[1]} cannot be used together")
        for filters, scopes in zip(self._filters, self._scopes, strict=True):
            for side in SIDES:
                scopes[side].write(filters, side)
        left, right = self._filters
        if left == right:
            return [left] if self._used else []
        return [left, right]
