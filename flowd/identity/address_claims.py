"""Claims of Kubernetes objects to addresses, updated incrementally from snapshot to snapshot."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from flowd.identity.claims import (
    KINDS,
    Claim,
    ClaimList,
    ClaimRank,
    ClaimReader,
    claimed_addresses,
    slice_endpoints,
)
from flowd.kubernetes.objects.core import Object, Pod, Service, controller_of
from flowd.kubernetes.objects.snapshot import ByName, ObjectKey, Objects, differences
from flowd.model.address import pack
from flowd.model.endpoint import EndpointKind

T = TypeVar("T", bound=Object)
_OWNERS = {"ReplicaSet": "replica_sets", "Job": "jobs"}
MAX_SHARED = 100_000


class AddressClaims:
    """Index of claims by address, and selection of the winning claim.

    Precedence: Pods, nodes, Services, endpoints of EndpointSlices, Gateways. The younger of two
    running Pods with one address wins; a terminating Pod loses to every running one. An address
    that slices assign to two different Pods has no winner.
    """

    def __init__(self, node_name: str, cluster_name: str) -> None:
        self._names = node_name, cluster_name
        self._objects = Objects()
        self._claims: dict[bytes, tuple[Claim, ...]] = {}
        self._slices: dict[bytes, tuple[ObjectKey, ...]] = {}
        self._pods_of_controller: dict[tuple[str, str, str], tuple[ObjectKey, ...]] = {}
        self._selectors: dict[tuple[str, str, str], list[Service]] = {}
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def update(self, objects: Objects) -> set[bytes]:
        """Apply the changes since the last snapshot; return the addresses with changed claims."""
        before, self._objects = self._objects, objects
        dirty: dict[str, set[ObjectKey]] = {
            kind: _changed(getattr(before, kind), getattr(objects, kind)) for kind in KINDS.values()
        }
        touched = self._update_slices(before, dirty) | self._update_selectors(before, dirty)
        for kind in _OWNERS.values():
            for key in _changed(getattr(before, kind), getattr(objects, kind)):
                dirty["pods"].update(self._pods_of_controller.get((kind, *key), ()))
        for key in dirty["pods"]:
            self._update_controllers(before.pods.get(key), objects.pods.get(key))
        if len(self._shared) > MAX_SHARED:
            self._shared.clear()
        reader = self._reader()
        read: dict[ClaimRank, Callable[..., ClaimList]] = {
            ClaimRank.GATEWAY: reader.gateway,
            ClaimRank.NODE: reader.node,
            ClaimRank.SERVICE: reader.service,
            ClaimRank.POD: partial(_read_pod, reader, self._services_selecting),
        }
        for rank, claims_of in read.items():
            kind = KINDS[rank]
            old, new = getattr(before, kind), getattr(objects, kind)
            for key in dirty[kind]:
                item = new.get(key)
                claims = claims_of(item) if item else []
                touched |= self._replace(rank, key, old.get(key), claims)
        return touched

    def resolve(
        self, addresses: Iterable[bytes], host: Collection[bytes]
    ) -> Iterator[tuple[bytes, Claim | None, list[str]]]:
        """Yield each address with its winning claim (or None) and the objects in conflict.

        Args:
            addresses: addresses of 16 bytes.
            host: addresses of this machine, which only Services, nodes and Pods can claim.
        """
        reader = self._reader()
        read: dict[ObjectKey, dict[bytes, list[tuple[str, str]]]] = {}
        for address in addresses:
            claims = self._claims.get(address, ())
            top = max(claims, key=lambda claim: (claim.rank, claim.order), default=None)
            if top and top.rank > ClaimRank.SLICE:
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
        reader: ClaimReader,
        read: dict[ObjectKey, dict[bytes, list[tuple[str, str]]]],
    ) -> tuple[Claim | None, list[str]]:
        """Winning claim of EndpointSlices to an address, and their Pods when these differ."""
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
        eligible = pods if host else claims
        one_name = len({claim.endpoint.name for claim in eligible}) == 1
        return eligible[0] if one_name else None, sorted(names) if len(names) > 1 else []

    def _reader(self) -> ClaimReader:
        return ClaimReader(self._objects, *self._names, self._services_at, self._shared)

    def _services_at(self, address: bytes) -> Iterator[ObjectKey]:
        """Namespace and name of the Services whose EndpointSlices contain an address."""
        for key in self._slices.get(address, ()):
            if service := self._objects.slices[key].service:
                yield key[0], service

    def _replace(
        self, rank: ClaimRank, key: ObjectKey, old: Object | None, claims: ClaimList
    ) -> set[bytes]:
        """Replace the claims of one object; return the addresses of old and new claims."""
        old_addresses = set(map(pack, claimed_addresses(old))) if old else set[bytes]()
        for address in old_addresses:
            remaining = tuple(
                claim
                for claim in self._claims.get(address, ())
                if (claim.rank, claim.source) != (rank, key)
            )
            if remaining:
                self._claims[address] = remaining
            else:
                self._claims.pop(address, None)
        for address, claim in claims:
            self._claims[address] = (*self._claims.get(address, ()), claim)
        return old_addresses | {address for address, _ in claims}

    def _update_slices(self, before: Objects, dirty: Mapping[str, set[ObjectKey]]) -> set[bytes]:
        """Update the slices of each address; mark the Pods at changed addresses as dirty."""
        changed: set[bytes] = set()
        for key in dirty["slices"]:
            single = (key,)
            for item in (before.slices.get(key), self._objects.slices.get(key)):
                present = item is self._objects.slices.get(key)
                for address in {pack(text) for text, _, _ in slice_endpoints(item)} if item else ():
                    known = self._slices.get(address, ())
                    remaining = tuple(other for other in known if other != key)
                    if present:
                        self._slices[address] = (*remaining, key) if remaining else single
                    elif remaining:
                        self._slices[address] = remaining
                    else:
                        self._slices.pop(address, None)
                    changed.add(address)
        self._mark_pods_dirty(changed, dirty)
        return changed

    def _mark_pods_dirty(
        self, addresses: Iterable[bytes], dirty: Mapping[str, set[ObjectKey]]
    ) -> None:
        """Mark the Pods at these addresses as dirty."""
        for address in addresses:
            pods = (claim for claim in self._claims.get(address, ()) if claim.rank == ClaimRank.POD)
            dirty["pods"].update(claim.source for claim in pods)

    def _update_selectors(self, before: Objects, dirty: Mapping[str, set[ObjectKey]]) -> set[bytes]:
        """Mark the Pods of Services as dirty that were added, removed or changed their selector."""
        after = self._objects.services
        if before.services is not after:
            self._selectors = defaultdict(list)
            for service in after.values():
                for pair in sorted(service.spec.selector.items())[:1]:
                    self._selectors[service.metadata.namespace, *pair].append(service)
        changed: set[ObjectKey] = set()
        wanted: dict[str, list[Service]] = defaultdict(list)
        for key in dirty["services"]:
            pair = before.services.get(key), after.get(key)
            selectors = [item.spec.selector if item else None for item in pair]
            if selectors[0] != selectors[1]:
                changed.add(key)
                wanted[key[0]] += [item for item in pair if item and item.spec.selector]
        touched: set[bytes] = set()
        if not changed:
            return touched
        for item in self._objects.slices.values():
            if (item.metadata.namespace, item.service) in changed:
                touched |= {pack(text) for text, _, _ in slice_endpoints(item)}
        self._mark_pods_dirty(touched, dirty)
        if before.pods:
            for key, pod in self._objects.pods.items():
                if key[0] in wanted and any(_selects(item, pod) for item in wanted[key[0]]):
                    dirty["pods"].add(key)
        return touched

    def _update_controllers(self, old: Pod | None, new: Pod | None) -> None:
        """Update the index of Pods by their controller."""
        old_owner, new_owner = (_owner_source(pod) if pod else None for pod in (old, new))
        if old_owner == new_owner:
            return
        if old and old_owner:
            remaining = tuple(
                key for key in self._pods_of_controller.get(old_owner, ()) if key != old.key
            )
            if remaining:
                self._pods_of_controller[old_owner] = remaining
            else:
                self._pods_of_controller.pop(old_owner, None)
        if new and new_owner:
            pods = self._pods_of_controller.get(new_owner, ())
            self._pods_of_controller[new_owner] = (*pods, new.key)

    def _services_selecting(self, pod: Pod) -> list[str]:
        """Names of the Services whose selector matches a Pod."""
        return [
            service.metadata.name
            for pair in pod.metadata.labels.items()
            for service in self._selectors.get((pod.metadata.namespace, *pair), ())
            if _selects(service, pod)
        ]


def _read_pod(reader: ClaimReader, selecting: Callable[[Pod], list[str]], pod: Pod) -> ClaimList:
    return reader.pod(pod, selecting(pod))


def _rivals(top: Claim, claims: Sequence[Claim]) -> list[str]:
    """`kind/namespace/name` of all Pods or nodes in conflict with the winning claim."""
    if len(claims) < 2 or top.rank not in (ClaimRank.POD, ClaimRank.NODE):
        return []  # Services and Gateways may share the address of a load balancer
    best = (top.rank, top.active)
    names = {claim.name for claim in claims if (claim.rank, claim.active) == best}
    return sorted(names) if len(names) > 1 else []


def _owner_source(pod: Pod) -> tuple[str, str, str] | None:
    """Controller of a Pod: attribute of its kind in Objects, namespace and name."""
    owner = controller_of(pod.metadata)
    kind = _OWNERS.get(owner.kind) if owner else None
    return (kind, pod.metadata.namespace, owner.name) if owner and kind else None


def _selects(service: Service, pod: Pod) -> bool:
    return service.spec.selector.items() <= pod.metadata.labels.items()


def _changed(before: ByName[T], after: ByName[T]) -> set[ObjectKey]:
    """Keys of the objects that were added, removed or replaced."""
    return {key for key, _ in differences(before, after)}
