"""All claims to addresses, brought up to date by what differs between two sets of objects."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TypeAlias, TypeVar

from flowd.identity.claims import Claim, Claimed, Rank, Reader, Source, slice_endpoints
from flowd.kubernetes.core import Object, Pod, Service, controller_of
from flowd.kubernetes.objects import Objects
from flowd.model.address import pack
from flowd.model.endpoint import EndpointKind

T = TypeVar("T", bound=Object)
ObjectKey: TypeAlias = tuple[str, str]
_OWNERS = {"ReplicaSet": "replica_sets", "Job": "jobs"}
MAX_SHARED = 100_000
_KINDS = ("gateways", "nodes", "services", "slices", "pods")


class Ledger:
    """Who claims which address, and which of the claims counts.

    Pods come before nodes, nodes before Services, these before endpoints of slices. Of two running
    Pods with one address the younger has it, but a terminating one only before another has it; an
    address that slices give to two different Pods has
    no owner.
    """

    def __init__(self, node_name: str, cluster_name: str) -> None:
        self._names = node_name, cluster_name
        self._objects = Objects()
        self._claims: dict[bytes, tuple[Claim, ...]] = {}
        self._claimed: dict[Source, tuple[bytes, ...]] = {}
        self._fronts: dict[bytes, tuple[tuple[str, str, str], ...]] = {}
        self._owned: dict[Source, set[ObjectKey]] = defaultdict(set)
        self._selectors: dict[tuple[str, str, str], list[Service]] = {}
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def update(self, objects: Objects) -> set[bytes]:
        """Read what changed since the last set of objects; the addresses whose claims did."""
        before, self._objects = self._objects, objects
        dirty: dict[str, set[ObjectKey]] = {
            kind: _changed(getattr(before, kind), getattr(objects, kind)) for kind in _KINDS
        }
        self._moved_fronts(before, dirty)
        self._moved_services(before, dirty)
        for kind in _OWNERS.values():
            for key in _changed(getattr(before, kind), getattr(objects, kind)):
                dirty["pods"] |= self._owned.get((kind, *key), set())
        for key in dirty["pods"]:
            self._note_owner(before.pods.get(key), objects.pods.get(key))
        if len(self._shared) > MAX_SHARED:
            self._shared.clear()
        reader = Reader(objects, *self._names, self._fronts, self._shared)
        read: dict[str, Callable[..., Claimed]] = {
            "gateways": reader.gateway,
            "nodes": reader.node,
            "services": reader.service,
            "slices": reader.slice,
            "pods": partial(_read_pod, reader, self._selecting),
        }
        touched: set[bytes] = set()
        for kind, keys in dirty.items():
            known = getattr(objects, kind)
            for key in keys:
                item = known.get(key)
                touched |= self._replace((kind, *key), read[kind](item) if item else [])
        return touched

    def owner(self, address: bytes, host: Collection[bytes]) -> Claim | None:
        """The claim to an address that counts; None when nobody's does.

        Args:
            host: addresses of this machine, which only Services, nodes and Pods can claim.
        """
        claims = self._claims.get(address)
        if not claims:
            return None
        top = max(claims, key=lambda claim: (claim.rank, claim.order))
        if top.rank == Rank.GATEWAY and address in host:
            return None
        if top.rank != Rank.SLICE:
            return top
        rivals = [claim for claim in claims if claim.rank == Rank.SLICE]
        if address in host:
            rivals = [claim for claim in rivals if claim.endpoint.kind == EndpointKind.POD]
        one_name = len({claim.endpoint.name for claim in rivals}) == 1
        return min(rivals, key=lambda claim: claim.order) if one_name else None

    def rivals(self, address: bytes) -> list[str]:
        """`kind/namespace/name` of the Pods or nodes that claim an address at the same time."""
        claims = self._claims.get(address, ())
        if len(claims) < 2:
            return []
        rank, first = max((claim.rank, claim.order[0]) for claim in claims)
        if rank == Rank.SLICE:
            pods = [claim.endpoint for claim in claims if claim.endpoint.kind == EndpointKind.POD]
            names = {f"pods/{entry.namespace}/{entry.name}" for entry in pods}
        elif rank in (Rank.POD, Rank.NODE):
            best = [claim for claim in claims if (claim.rank, claim.order[0]) == (rank, first)]
            names = {"/".join(claim.source) for claim in best}
        else:
            return []  # Services and Gateways may share a load balancer
        return sorted(names) if len(names) > 1 else []

    def _replace(self, source: Source, claims: Claimed) -> set[bytes]:
        """Put what an object claims in the place of what it claimed before."""
        old = self._claimed.pop(source, ())
        for address in old:
            left = tuple(claim for claim in self._claims[address] if claim.source != source)
            if left:
                self._claims[address] = left
            else:
                del self._claims[address]
        for address, claim in claims:
            self._claims[address] = (*self._claims.get(address, ()), claim)
        if claims:
            self._claimed[source] = tuple(dict.fromkeys(address for address, _ in claims))
        return {*old, *(address for address, _ in claims)}

    def _moved_fronts(self, before: Objects, dirty: Mapping[str, set[ObjectKey]]) -> None:
        """Note which Service has which address behind it, and who has to be read again for it."""
        for key in tuple(dirty["slices"]):
            old, new = before.slices.get(key), self._objects.slices.get(key)
            moved: set[bytes] = set()
            for item, present in ((old, False), (new, True)):
                if item is None or not item.service:
                    continue
                front = item.metadata.namespace, item.service, item.metadata.name
                for address in {pack(text) for text, _, _ in slice_endpoints(item)}:
                    left = tuple(e for e in self._fronts.get(address, ()) if e != front)
                    self._fronts[address] = (*left, front) if present else left
                    moved.add(address)
            self._reread(moved, dirty)

    def _reread(self, addresses: Iterable[bytes], dirty: Mapping[str, set[ObjectKey]]) -> None:
        for address in addresses:
            if not self._fronts.get(address, ()):
                self._fronts.pop(address, None)
            for claim in self._claims.get(address, ()):
                kind, *key = claim.source
                if kind in ("pods", "slices"):
                    dirty[kind].add((key[0], key[1]))

    def _moved_services(self, before: Objects, dirty: Mapping[str, set[ObjectKey]]) -> None:
        """Whom a Service selects is read again when it comes, goes or selects others."""
        after = self._objects.services
        if before.services is not after:
            self._selectors = defaultdict(list)
            for service in after.values():
                for pair in sorted(service.spec.selector.items())[:1]:
                    self._selectors[service.metadata.namespace, *pair].append(service)
        moved: set[ObjectKey] = set()
        wanted: dict[str, list[Service]] = defaultdict(list)
        for key in dirty["services"]:
            pair = before.services.get(key), after.get(key)
            selectors = [item.spec.selector if item else None for item in pair]
            if selectors[0] != selectors[1]:
                moved.add(key)
                wanted[key[0]] += [item for item in pair if item and item.spec.selector]
        if not moved:
            return
        for item in self._objects.slices.values():
            if (item.metadata.namespace, item.service) in moved:
                self._reread({pack(text) for text, _, _ in slice_endpoints(item)}, dirty)
        if before.pods:
            for key, pod in self._objects.pods.items():
                if key[0] in wanted and any(_selects(item, pod) for item in wanted[key[0]]):
                    dirty["pods"].add(key)

    def _note_owner(self, old: Pod | None, new: Pod | None) -> None:
        """Remember which Pods to read again when what controls them changes."""
        if old and (source := _owner_source(old)) and (pods := self._owned.get(source)):
            pods.discard(old.key)
            if not pods:
                del self._owned[source]
        if new and (source := _owner_source(new)):
            self._owned[source].add(new.key)

    def _selecting(self, pod: Pod) -> list[str]:
        """Names of the Services that select a Pod."""
        return [
            service.metadata.name
            for pair in pod.metadata.labels.items()
            for service in self._selectors.get((pod.metadata.namespace, *pair), ())
            if _selects(service, pod)
        ]


def _read_pod(reader: Reader, selecting: Callable[[Pod], list[str]], pod: Pod) -> Claimed:
    return reader.pod(pod, selecting(pod))


def _owner_source(pod: Pod) -> Source | None:
    owner = controller_of(pod.metadata)
    kind = _OWNERS.get(owner.kind) if owner else None
    return (kind, pod.metadata.namespace, owner.name) if owner and kind else None


def _selects(service: Service, pod: Pod) -> bool:
    return service.spec.selector.items() <= pod.metadata.labels.items()


def _changed(before: Mapping[ObjectKey, T], after: Mapping[ObjectKey, T]) -> set[ObjectKey]:
    """Keys of what came, went or is another object than before."""
    if before is after:
        return set()
    fresh = {key for key, item in after.items() if before.get(key) is not item}
    if len(before) + len(fresh) > len(after):
        fresh.update(key for key in before if key not in after)
    return fresh
