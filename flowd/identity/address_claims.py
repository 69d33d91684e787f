"""All claims to addresses, brought up to date by what differs between two sets of objects."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from flowd.identity.claims import (
    KINDS,
    Claim,
    Claimed,
    ObjectKey,
    Rank,
    Reader,
    claimed_addresses,
    slice_endpoints,
)
from flowd.kubernetes.objects.core import Object, Pod, Service, controller_of
from flowd.kubernetes.objects.snapshot import ByName, Objects, differences
from flowd.model.address import pack
from flowd.model.endpoint import EndpointKind

T = TypeVar("T", bound=Object)
_OWNERS = {"ReplicaSet": "replica_sets", "Job": "jobs"}
MAX_SHARED = 100_000


class Ledger:
    """Who claims which address, and which of the claims counts.

    Pods come before nodes, nodes before Services, these before endpoints of slices. Of two running
    Pods with one address the younger has it, but a terminating one only before another has it; an
    address that slices give to two different Pods has no owner.
    """

    def __init__(self, node_name: str, cluster_name: str) -> None:
        self._names = node_name, cluster_name
        self._objects = Objects()
        self._claims: dict[bytes, tuple[Claim, ...]] = {}
        self._slices: dict[bytes, tuple[ObjectKey, ...]] = {}
        self._owned: dict[tuple[str, str, str], tuple[ObjectKey, ...]] = {}
        self._selectors: dict[tuple[str, str, str], list[Service]] = {}
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def update(self, objects: Objects) -> set[bytes]:
        """Read what changed since the last set of objects; the addresses whose claims did."""
        before, self._objects = self._objects, objects
        dirty: dict[str, set[ObjectKey]] = {
            kind: _changed(getattr(before, kind), getattr(objects, kind)) for kind in KINDS.values()
        }
        touched = self._moved_slices(before, dirty) | self._moved_services(before, dirty)
        for kind in _OWNERS.values():
            for key in _changed(getattr(before, kind), getattr(objects, kind)):
                dirty["pods"].update(self._owned.get((kind, *key), ()))
        for key in dirty["pods"]:
            self._note_owner(before.pods.get(key), objects.pods.get(key))
        if len(self._shared) > MAX_SHARED:
            self._shared.clear()
        reader = self._reader()
        read: dict[Rank, Callable[..., Claimed]] = {
            Rank.GATEWAY: reader.gateway,
            Rank.NODE: reader.node,
            Rank.SERVICE: reader.service,
            Rank.POD: partial(_read_pod, reader, self._selecting),
        }
        for rank, claims_of in read.items():
            kind = KINDS[rank]
            old, new = getattr(before, kind), getattr(objects, kind)
            for key in dirty[kind]:
                item = new.get(key)
                claims = claims_of(item) if item else []
                touched |= self._replace(rank, key, old.get(key), claims)
        return touched

    def look(
        self, addresses: Iterable[bytes], host: Collection[bytes]
    ) -> Iterator[tuple[bytes, Claim | None, list[str]]]:
        """For each address the claim that counts, None when nobody's does, and who is in conflict.

        Args:
            host: addresses of this machine, which only Services, nodes and Pods can claim.
        """
        reader = self._reader()
        read: dict[ObjectKey, dict[bytes, list[tuple[str, str]]]] = {}
        for address in addresses:
            claims = self._claims.get(address, ())
            top = max(claims, key=lambda claim: (claim.rank, claim.order), default=None)
            if top and top.rank > Rank.SLICE:
                yield address, top, _rivals(top, claims)
                continue
            if keys := self._slices.get(address):
                yield address, *self._of_slices(address, keys, address in host, reader, read)
                continue
            yield address, None if address in host else top, []

    def _of_slices(
        self,
        address: bytes,
        keys: Iterable[ObjectKey],
        host: bool,
        reader: Reader,
        read: dict[ObjectKey, dict[bytes, list[tuple[str, str]]]],
    ) -> tuple[Claim | None, list[str]]:
        """The claim of slices to an address, and the Pods that they give it to if these differ."""
        claims: list[Claim] = []
        for key in sorted(keys):
            item = self._objects.slices[key]
            if key not in read:
                read[key] = defaultdict(list)
                for text, pod, node in slice_endpoints(item):
                    read[key][pack(text)].append((pod, node))
            claims += [reader.slice(item, address, *entry) for entry in read[key][address]]
        pods = [claim for claim in claims if claim.endpoint.kind == EndpointKind.POD]
        names = {f"pods/{claim.endpoint.namespace}/{claim.endpoint.name}" for claim in pods}
        able = pods if host else claims
        one_name = len({claim.endpoint.name for claim in able}) == 1
        return able[0] if one_name else None, sorted(names) if len(names) > 1 else []

    def _reader(self) -> Reader:
        return Reader(self._objects, *self._names, self._fronts, self._shared)

    def _fronts(self, address: bytes) -> Iterator[ObjectKey]:
        """Namespace and name of the Services whose slices have an address."""
        for key in self._slices.get(address, ()):
            if service := self._objects.slices[key].service:
                yield key[0], service

    def _replace(
        self, rank: Rank, key: ObjectKey, old: Object | None, claims: Claimed
    ) -> set[bytes]:
        """Put what an object claims in the place of what it claimed before."""
        gone = set(map(pack, claimed_addresses(old))) if old else set[bytes]()
        for address in gone:
            left = tuple(
                claim
                for claim in self._claims.get(address, ())
                if (claim.rank, claim.source) != (rank, key)
            )
            if left:
                self._claims[address] = left
            else:
                self._claims.pop(address, None)
        for address, claim in claims:
            self._claims[address] = (*self._claims.get(address, ()), claim)
        return gone | {address for address, _ in claims}

    def _moved_slices(self, before: Objects, dirty: Mapping[str, set[ObjectKey]]) -> set[bytes]:
        """Note which slices have which address, and which Pods have to be read again for it."""
        moved: set[bytes] = set()
        for key in dirty["slices"]:
            mine = (key,)
            for item in (before.slices.get(key), self._objects.slices.get(key)):
                present = item is self._objects.slices.get(key)
                for address in {pack(text) for text, _, _ in slice_endpoints(item)} if item else ():
                    known = self._slices.get(address, ())
                    left = tuple(other for other in known if other != key)
                    if present:
                        self._slices[address] = (*left, key) if left else mine
                    elif left:
                        self._slices[address] = left
                    else:
                        self._slices.pop(address, None)
                    moved.add(address)
        self._reread(moved, dirty)
        return moved

    def _reread(self, addresses: Iterable[bytes], dirty: Mapping[str, set[ObjectKey]]) -> None:
        """The Pods that have these addresses are to be read again."""
        for address in addresses:
            pods = (claim for claim in self._claims.get(address, ()) if claim.rank == Rank.POD)
            dirty["pods"].update(claim.source for claim in pods)

    def _moved_services(self, before: Objects, dirty: Mapping[str, set[ObjectKey]]) -> set[bytes]:
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
        touched: set[bytes] = set()
        if not moved:
            return touched
        for item in self._objects.slices.values():
            if (item.metadata.namespace, item.service) in moved:
                touched |= {pack(text) for text, _, _ in slice_endpoints(item)}
        self._reread(touched, dirty)
        if before.pods:
            for key, pod in self._objects.pods.items():
                if key[0] in wanted and any(_selects(item, pod) for item in wanted[key[0]]):
                    dirty["pods"].add(key)
        return touched

    def _note_owner(self, old: Pod | None, new: Pod | None) -> None:
        """Remember which Pods to read again when what controls them changes."""
        one, other = (_owner_source(pod) if pod else None for pod in (old, new))
        if one == other:
            return
        if old and one:
            left = tuple(key for key in self._owned.get(one, ()) if key != old.key)
            if left:
                self._owned[one] = left
            else:
                self._owned.pop(one, None)
        if new and other:
            self._owned[other] = (*self._owned.get(other, ()), new.key)

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


def _rivals(top: Claim, claims: Sequence[Claim]) -> list[str]:
    """`kind/namespace/name` of the Pods or nodes that claim an address as well as the best does."""
    if len(claims) < 2 or top.rank not in (Rank.POD, Rank.NODE):
        return []  # Services and Gateways may share a load balancer
    best = (top.rank, top.strength)
    names = {claim.name for claim in claims if (claim.rank, claim.strength) == best}
    return sorted(names) if len(names) > 1 else []


def _owner_source(pod: Pod) -> tuple[str, str, str] | None:
    """What controls a Pod: name of its kind in Objects, namespace and name."""
    owner = controller_of(pod.metadata)
    kind = _OWNERS.get(owner.kind) if owner else None
    return (kind, pod.metadata.namespace, owner.name) if owner and kind else None


def _selects(service: Service, pod: Pod) -> bool:
    return service.spec.selector.items() <= pod.metadata.labels.items()


def _changed(before: ByName[T], after: ByName[T]) -> set[ObjectKey]:
    """Keys of what came, went or is another object than before."""
    return {key for key, _ in differences(before, after)}
