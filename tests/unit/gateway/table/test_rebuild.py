"""An incrementally built route table equals one built from scratch."""

import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from flowd.gateway.matching.rules import Route
from flowd.gateway.report.describe import describe
from flowd.gateway.report.simulate import Request, match_request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import KINDS, Objects
from flowd.model.address import pack
from flowd.model.losses import Losses
from tests.support.envoy_entries import bundle

DATA = Path(__file__).parents[3] / "data"


def changed(objects: Objects, rng: random.Random) -> Objects:
    """The objects with one of them removed, added again, or with another date."""
    names = [kind.attribute for kind in KINDS.values() if getattr(objects, kind.attribute)]
    name = rng.choice(names)
    items = dict(getattr(objects, name))
    key = rng.choice(sorted(items))
    item = items.pop(key)
    if rng.random() < 0.5:
        date = f"20{rng.randint(10, 30)}-01-01T00:00:00Z"
        metadata = msgspec.structs.replace(item.metadata, creation_timestamp=date)
        items[key] = msgspec.structs.replace(item, metadata=metadata)
    return replace(objects, **{name: items})


def accepted(table: RouteTable) -> list[tuple[Route, str]]:
    """Accepted routes of all listeners."""
    return [
        pair
        for gateway in table.gateways.values()
        for listener in gateway.listeners
        for pair in listener.accepted
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dialect", ["spec", "cilium"])
def test_rebuilt_and_read_anew_agree(dialect: str, seed: int) -> None:
    rng = random.Random(seed)
    whole = load_manifests([DATA / "routes", DATA / "manifests"], Losses())
    lines = [
        line
        for path in sorted((DATA / "routes").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    requests = [
        msgspec.convert(msgspec.json.decode(line)["request"], Request)
        for line in rng.sample(lines, 60)
    ]
    objects, table = whole, RouteTable.build(whole, dialect)
    for step in range(25):
        objects = whole if step % 9 == 8 else changed(objects, rng)
        table = RouteTable.build(objects, dialect, table)
        anew = RouteTable.build(objects, dialect)
        assert describe(table) == describe(anew)
        assert table.header_names == anew.header_names
        for request in requests:
            assert match_request(table, request) == match_request(anew, request)
        for item in (*objects.pods.values(), *objects.services.values()):
            for address in map(pack, item.addresses()):
                for port in (80, 8080, 443, 1):
                    assert set(table.services.at(address, port)) == set(
                        anew.services.at(address, port)
                    )


def test_what_did_not_change_is_taken_over() -> None:
    objects = load_manifests([DATA / "routes"], Losses())
    table = RouteTable.build(objects)
    key = ("a", "paths")
    item = objects.http_routes[key]
    labels = {"touched": "yes"}
    other = msgspec.structs.replace(
        item, metadata=msgspec.structs.replace(item.metadata, labels=labels)
    )
    after = RouteTable.build(
        replace(objects, http_routes={**objects.http_routes, key: other}), "spec", table
    )
    same = [name for name, route in after.routes.items() if table.routes[name] is route]
    ingresses = len(objects.ingresses)
    assert len(same) == len(after.routes) - 1 - ingresses


def test_a_route_with_another_weight_shares_what_it_leaves_alone() -> None:
    objects = bundle("eg")
    table = RouteTable.build(objects, "eg")
    key = ("shop", "web")
    item = objects.http_routes[key]
    rule = item.spec.rules[0]
    refs = tuple(msgspec.structs.replace(ref, weight=7) for ref in rule.backend_refs)
    rules = (msgspec.structs.replace(rule, backend_refs=refs), *item.spec.rules[1:])
    spec = msgspec.structs.replace(item.spec, rules=rules)
    other = msgspec.structs.replace(item, spec=spec)
    routes = {**objects.http_routes, key: other}
    after = RouteTable.build(replace(objects, http_routes=routes), "eg", table)
    assert after.targets is table.targets
    kept = {id(pair) for pair in accepted(table)}
    fresh = {pair[0].key for pair in accepted(after) if id(pair) not in kept}
    assert fresh == {("HTTPRoute", *key)}
    for gateway_id, gateway in after.gateways.items():
        before = table.gateways[gateway_id].listeners
        for one, two in zip(gateway.listeners, before, strict=True):
            assert one.attached is two.attached
            assert bool(one.attached) == bool(one.accepted)
