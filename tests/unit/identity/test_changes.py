"""An incrementally updated identity table equals one built at once from the same objects."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.identity.table import IdentityTable
from flowd.kubernetes.objects import core
from flowd.kubernetes.objects import gateway_api as gw
from flowd.kubernetes.objects.snapshot import ByName, Objects
from flowd.model.address import column, pack
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind, ReservedIdentity
from flowd.model.status import State

SECOND = 10**9
NAMES = ("a", "b", "c")
SPACES = ("shop", "pay")
HASH = "7d4f8b6c9d"
FOURS = [f"10.0.0.{n}" for n in range(12)]
SIXES = [f"fd00::{n}" for n in range(6)]
NODES = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
PUBLIC = ["198.51.100.7", "198.51.100.8", "203.0.113.9"]
EVERY = [*FOURS, *SIXES, *NODES, *PUBLIC, "127.0.0.1", "203.0.114.1", "2001:db8::1"]


def owner(kind: str, name: str) -> tuple[core.OwnerReference, ...]:
    return (core.OwnerReference(kind=kind, name=name, controller=True),)


def meta(rng: random.Random, name: str, **fields: Any) -> core.ObjectMeta:
    return core.ObjectMeta(name=name, namespace=rng.choice(SPACES), **fields)


def pod(rng: random.Random) -> core.Pod:
    four, six = rng.choice(FOURS), rng.choice(SIXES)
    owners = rng.choice(
        [
            (),
            owner("ReplicaSet", f"web-{HASH}"),
            owner("Job", "night-1"),
            owner("StatefulSet", "db"),
            owner("DaemonSet", "agent"),
        ]
    )
    ips = (core.PodIP(ip=four), core.PodIP(ip=six))
    labels = {"app": rng.choice(NAMES), "pod-template-hash": HASH}
    if rng.random() < 0.1:
        labels["gateway.networking.k8s.io/gateway-name"] = "edge"
    return core.Pod(
        metadata=meta(
            rng,
            f"p{rng.randrange(8)}",
            labels=labels,
            owner_references=owners,
            creation_timestamp=f"2026-01-0{rng.randint(1, 9)}T00:00:00Z",
            deletion_timestamp=rng.choice(["", "", "2026-01-09T00:00:00Z"]),
        ),
        spec=core.PodSpec(
            node_name=rng.choice(["", "n0", "n1"]),
            host_network=rng.random() < 0.2,
            service_account_name=rng.choice(["", "robot"]),
        ),
        status=core.PodStatus(
            phase=rng.choice(["Pending", "Running", "Running", "Succeeded", "Failed"]),
            pod_ip=rng.choice(["", four]),
            pod_ips=rng.choice([(), ips]),
        ),
    )


def service(rng: random.Random) -> core.Service:
    kind = rng.choice(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"])
    balanced = (core.LoadBalancerIngress(ip=rng.choice(PUBLIC)),) if kind == "LoadBalancer" else ()
    return core.Service(
        metadata=meta(rng, f"s{rng.randrange(4)}"),
        spec=core.ServiceSpec(
            type=kind,
            selector=rng.choice([{}, {"app": rng.choice(NAMES)}]),
            cluster_ip=rng.choice(["", "None", rng.choice(FOURS)]),
            cluster_ips=rng.choice([(), (rng.choice(FOURS), rng.choice(SIXES))]),
            external_ips=rng.choice([(), (rng.choice([*PUBLIC, *NODES]),)]),
        ),
        status=core.ServiceStatus(load_balancer=core.LoadBalancerStatus(ingress=balanced)),
    )


def endpoints(rng: random.Random) -> core.EndpointSlice:
    found = tuple(
        core.SliceEndpoint(
            addresses=(rng.choice([*FOURS, *SIXES, *NODES]),),
            target_ref=rng.choice(
                [
                    core.ObjectReference(),
                    core.ObjectReference(kind="Pod", name=f"p{rng.randrange(8)}"),
                ]
            ),
            node_name=rng.choice(["", "n1"]),
        )
        for _ in range(rng.randrange(3))
    )
    labels = {"kubernetes.io/service-name": f"s{rng.randrange(4)}"} if rng.random() < 0.9 else {}
    return core.EndpointSlice(
        metadata=meta(rng, f"e{rng.randrange(5)}", labels=labels),
        address_type=rng.choice(["IPv4", "IPv6", "FQDN"]),
        endpoints=found,
    )


def node(rng: random.Random) -> core.Node:
    addresses = tuple(
        core.NodeAddress(type=rng.choice(["InternalIP", "ExternalIP"]), address=rng.choice(NODES))
        for _ in range(rng.randrange(3))
    )
    status = core.NodeStatus(addresses=addresses)
    return core.Node(metadata=core.ObjectMeta(name=f"n{rng.randrange(3)}"), status=status)


def gateway(rng: random.Random) -> gw.Gateway:
    addresses = (
        gw.GatewayAddress(value=rng.choice([*PUBLIC, *NODES, "not an address"])),
        gw.GatewayAddress(type="Hostname", value="edge.example"),
    )
    status = gw.GatewayStatus(addresses=addresses)
    return gw.Gateway(metadata=meta(rng, f"g{rng.randrange(2)}"), status=status)


def group(rng: random.Random) -> core.CiliumCIDRGroup:
    networks = ["203.0.113.0/24", "203.0.112.0/20", "2001:db8::/32", "10.0.0.0/8", "0.0.0.0/0"]
    spec = core.CiliumCIDRGroupSpec(external_cidrs=tuple(rng.sample(networks, 2)))
    return core.CiliumCIDRGroup(metadata=core.ObjectMeta(name=f"c{rng.randrange(3)}"), spec=spec)


def replica_set(rng: random.Random) -> core.ReplicaSet:
    owners = rng.choice([(), owner("Deployment", rng.choice(NAMES))])
    return core.ReplicaSet(metadata=meta(rng, f"web-{HASH}", owner_references=owners))


def job(rng: random.Random) -> core.Job:
    owners = rng.choice([(), owner("CronJob", "night")])
    return core.Job(metadata=meta(rng, "night-1", owner_references=owners))


MAKERS: dict[str, Callable[[random.Random], core.Object]] = {
    "pods": pod,
    "services": service,
    "slices": endpoints,
    "nodes": node,
    "gateways": gateway,
    "cidr_groups": group,
    "replica_sets": replica_set,
    "jobs": job,
}


def changed(objects: Objects, rng: random.Random) -> Objects:
    """The objects with some of one kind removed, added or replaced."""
    name = rng.choice(["pods", "pods", *MAKERS])
    items: ByName[Any] = dict(getattr(objects, name))
    for _ in range(rng.choice([1, 1, 1, 5])):
        if items and rng.random() < 0.4:
            del items[rng.choice(sorted(items))]
        else:
            item = MAKERS[name](rng)
            items[item.key] = item
    return replace(objects, **{name: items})


class Followed:
    """A table, and a copy of the kernel map that receives only the differences."""

    def __init__(self, proc: Path) -> None:
        self.directory = Directory("n0", "prod")
        self.table = IdentityTable(self.directory, node_name="n0", cluster_name="prod", proc=proc)
        self.kernel: dict[bytes, int] = {}

    def update(self, objects: Objects, now: int = 1) -> None:
        self.table.update(objects, now)
        for address, index in self.table.drain_changes().items():
            if index:
                self.kernel[address] = index
            else:
                del self.kernel[address]

    def told(self) -> dict[str, Endpoint]:
        """Endpoints by address, as `resolve` returns them for rows."""
        found = self.table.resolve(column(EVERY)).tolist()
        return dict(zip(EVERY, map(self.directory.endpoints.__getitem__, found), strict=True))

    def networks(self) -> set[tuple[bytes, int, Endpoint]]:
        endpoints = self.directory.endpoints
        return {(at, length, endpoints[index]) for at, length, index in self.table.prefixes()}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    leaf = f"     |-- {NODES[0]}\n        /32 host LOCAL\n"
    (tmp_path / "net" / "fib_trie").write_text(leaf)
    return tmp_path


@pytest.mark.parametrize("seed", range(12))
def test_following_and_building_anew_agree(seed: int, proc: Path) -> None:
    rng = random.Random(seed)
    objects, followed = Objects(), Followed(proc)
    kinds: set[EndpointKind] = set()
    for step in range(80):
        objects = Objects() if step == 60 else changed(objects, rng)
        followed.update(objects)
        anew = Followed(proc)
        anew.update(objects)
        told = followed.told()
        assert told == anew.told(), f"step {step}"
        assert followed.networks() == anew.networks()
        assert followed.kernel == followed.table.entries()
        assert followed.kernel.keys() == anew.kernel.keys()
        kinds.update(entry.kind for entry in told.values())
        for entry in told.values():
            derived = not entry.labels or not entry.labels[0].startswith("reserved:")
            assert entry.identity >= 256 if derived else entry.identity < 256, entry
    assert kinds >= {EndpointKind.POD, EndpointKind.SERVICE, EndpointKind.NODE, EndpointKind.HOST}


@pytest.mark.parametrize("seed", range(3))
def test_every_node_has_the_same_numbers(seed: int, proc: Path) -> None:
    rng = random.Random(seed)
    objects = Objects()
    for _ in range(60):
        objects = changed(objects, rng)
    here = Followed(proc)
    here.update(objects)
    directory = Directory("n1", "prod")
    there = IdentityTable(directory, node_name="n1", cluster_name="prod", proc=proc)
    there.update(objects, 1)
    rows = column([*FOURS, *SIXES, *PUBLIC])
    assert here.table.identity_of[here.table.resolve(rows)].tolist() == (
        there.identity_of[there.resolve(rows)].tolist()
    )


def test_the_holder_is_the_one_of_the_time(proc: Path) -> None:
    """An address of two Pods within one second, then of none."""
    followed = Followed(proc)

    def running(name: str, born: int) -> Objects:
        objects = Objects()
        stamp = f"2026-01-01T00:00:0{born}Z"
        metadata = core.ObjectMeta(name=name, namespace="shop", creation_timestamp=stamp)
        status = core.PodStatus(phase="Running", pod_ip="10.0.0.1")
        objects.add(core.Pod(metadata=metadata, status=status))
        return objects

    start = 1_000 * SECOND
    followed.update(running("old", 1), start)
    followed.update(running("new", 2), start + SECOND // 2)
    followed.update(Objects(), start + SECOND)
    times = [start + 1, start + SECOND // 2 - 1, start + SECOND // 2, start + SECOND - 1]
    times += [start + SECOND, 0]
    rows = column(["10.0.0.1"] * len(times))
    found = followed.table.resolve(rows, np.array(times, np.uint64))
    names = [followed.directory.endpoints[index].name for index in found.tolist()]
    assert names == ["old", "old", "new", "new", "", ""]
    assert followed.kernel.get(pack("10.0.0.1")) is None


def test_owners_are_followed_to_the_top(proc: Path) -> None:
    objects = Objects()
    owners = {
        "10.0.0.1": owner("ReplicaSet", f"web-{HASH}"),
        "10.0.0.2": owner("ReplicaSet", "bare"),
        "10.0.0.3": owner("Job", "night-1"),
        "10.0.0.4": owner("Job", "once"),
        "10.0.0.5": owner("StatefulSet", "db"),
        "10.0.0.6": owner("DaemonSet", "agent"),
        "10.0.0.7": (),
    }
    for address, references in owners.items():
        metadata = core.ObjectMeta(
            name=f"p-{address}", namespace="shop", owner_references=references
        )
        status = core.PodStatus(phase="Running", pod_ip=address)
        objects.add(core.Pod(metadata=metadata, status=status))
    for kind, name, above in (
        (core.ReplicaSet, f"web-{HASH}", owner("Deployment", "web")),
        (core.ReplicaSet, "bare", ()),
        (core.Job, "night-1", owner("CronJob", "night")),
        (core.Job, "once", ()),
    ):
        metadata = core.ObjectMeta(name=name, namespace="shop", owner_references=above)
        objects.add(kind(metadata=metadata))
    followed = Followed(proc)
    followed.update(objects)
    told = followed.told()
    assert [(told[at].workload_kind, told[at].workload) for at in owners] == [
        ("Deployment", "web"),
        ("ReplicaSet", "bare"),
        ("CronJob", "night"),
        ("Job", "once"),
        ("StatefulSet", "db"),
        ("DaemonSet", "agent"),
        ("", ""),
    ]


def test_networks_have_names_and_the_narrowest_counts(proc: Path) -> None:
    objects = Objects()
    for name, networks in (
        ("office", ("203.0.113.0/24", "2001:db8::/32")),
        ("partners", ("203.0.112.0/20", "203.0.113.0/24")),
    ):
        spec = core.CiliumCIDRGroupSpec(external_cidrs=networks)
        objects.add(core.CiliumCIDRGroup(metadata=core.ObjectMeta(name=name), spec=spec))
    followed = Followed(proc)
    followed.update(objects)
    told = followed.told()
    prefix = "cidrgroup:io.cilium.policy.cidrgroupname/"
    assert told["203.0.113.9"].labels == (
        "cidr:203.0.113.0/24",
        f"{prefix}office=",
        f"{prefix}partners=",
        "reserved:world",
    )
    assert told["203.0.114.1"].labels == (
        "cidr:203.0.112.0/20",
        f"{prefix}partners=",
        "reserved:world",
    )
    assert told["2001:db8::1"].name == "office"
    assert min(told[at].identity for at in ("203.0.113.9", "2001:db8::1")) >= 256
    assert told["198.51.100.7"].identity == ReservedIdentity.WORLD


def test_a_gateway_has_the_addresses_of_its_status(proc: Path) -> None:
    objects = Objects()
    status = gw.GatewayStatus(
        addresses=(
            gw.GatewayAddress(value=PUBLIC[0]),
            gw.GatewayAddress(value=NODES[0]),
            gw.GatewayAddress(type="Hostname", value="edge.example"),
        )
    )
    objects.add(gw.Gateway(metadata=core.ObjectMeta(name="edge", namespace="infra"), status=status))
    followed = Followed(proc)
    followed.update(objects)
    told = followed.told()
    edge = told[PUBLIC[0]]
    assert (edge.kind, edge.namespace, edge.name) == (EndpointKind.SERVICE, "infra", "edge")
    assert (edge.gateway, edge.identity >= 256) == ("infra/edge", True)
    assert told[NODES[0]].kind == EndpointKind.HOST


def test_an_address_of_two_is_told_until_one_lets_go(proc: Path) -> None:
    objects = Objects()
    for name, phase in (("one", "Running"), ("two", "Running"), ("done", "Succeeded")):
        status = core.PodStatus(phase=phase, pod_ip="10.0.0.1")
        objects.add(core.Pod(metadata=core.ObjectMeta(name=name, namespace="shop"), status=status))
    followed = Followed(proc)
    followed.update(objects)
    part = followed.table.status()
    assert (part.state, followed.table.conflicts) == (State.DEGRADED, 1)
    assert part.detail == "claimed more than once: 10.0.0.1 by pods/shop/one, pods/shop/two"
    left = {key: item for key, item in objects.pods.items() if key != ("shop", "one")}
    followed.update(replace(objects, pods=left))
    assert (followed.table.status().state, followed.table.conflicts) == (State.ON, 0)
