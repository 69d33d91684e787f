"""Attribution of recorded traffic, with and without names, and of untrusted entries."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flowd.gateway.attribution.attribute import MAX_TABLE_VERSIONS, MAX_UNCONFIRMED, Attributor
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.address import pack
from flowd.model.directory import Directory
from flowd.model.enums import Attribution, EntryKind
from flowd.model.losses import Losses
from flowd.model.records.request import RequestBatch, empty_requests
from flowd.model.route import RouteRef
from tests.support.envoy_entries import DATA, Truth, bundle, recorded


def attributed(batch: RequestBatch, dialect: str) -> Directory:
    directory = Directory()
    attributor = Attributor(directory, dialect)
    attributor.update(bundle(dialect))
    attributor.attribute(batch)
    return directory


def wrong(batch: RequestBatch, truths: list[Truth], directory: Directory) -> list[str]:
    """Entries whose route, listener or backend differs from the truth."""
    found: list[str] = []
    for row, truth in zip(batch, truths, strict=True):
        ref = directory.routes[int(row["route"])]
        backend = directory.backends[int(row["backend"])].backend_id
        told = (ref.kind, ref.namespace, ref.name, ref.rule, ref.match, ref.rule_name)
        place = (ref.gateway_id, ref.listener)
        right = told == truth.route if truth.route else not ref.kind and bool(ref.reason)
        if not right or place != (truth.gateway, truth.listener):
            found.append(f"{truth.seq} {truth.path}: {place} {told}, not {truth}")
        if truth.backend and backend != truth.backend:
            found.append(f"{truth.seq} {truth.path}: {backend}, not {truth.backend}")
    return found


def evidence(batch: RequestBatch, truths: list[Truth]) -> set[Attribution]:
    """Kinds of attribution of the entries with a route."""
    routed = [row for row, truth in zip(batch, truths, strict=True) if truth.route]
    return {Attribution(int(row["attribution"])) for row in routed}


def test_envoy_gateway_by_names() -> None:
    batch, truths = recorded("eg")
    assert len(truths) == 222
    assert wrong(batch, truths, attributed(batch, "eg")) == []
    assert evidence(batch, truths) == {Attribution.NAME}


@pytest.mark.parametrize("blank", [["route_name"], ["route_name", "cluster"]])
def test_envoy_gateway_by_resolver(blank: list[str]) -> None:
    batch, truths = recorded("eg")
    for column in blank:
        batch[column] = ""
    assert wrong(batch, truths, attributed(batch, "eg")) == []
    http = batch["kind"] == EntryKind.HTTP
    wanted = {Attribution.RESOLVER}
    assert evidence(batch[http], [t for t, h in zip(truths, http, strict=True) if h]) == wanted


def test_envoy_gateway_without_names_and_upstream_only_rewrites_stay_open() -> None:
    batch, truths = recorded("eg")
    batch["route_name"] = batch["cluster"] = ""
    batch["up_remote_addr"] = batch["up_remote_port"] = 0
    directory = attributed(batch, "eg")
    routes_only = [replace(truth, backend="") for truth in truths]
    missed = wrong(batch, routes_only, directory)
    assert {line.split()[0] for line in missed} == {"eg-0105", "eg-0106", "eg-0107"}


@pytest.mark.parametrize("blank", [[], ["route_name"], ["route_name", "cluster"]])
def test_istio(blank: list[str]) -> None:
    batch, truths = recorded("istio")
    for column in blank:
        batch[column] = ""
    assert wrong(batch, truths, attributed(batch, "istio")) == []
    named = {Attribution.NAME, Attribution.RESOLVER} if not blank else {Attribution.RESOLVER}
    assert evidence(batch, truths) == named


def test_backends_of_requests_that_nothing_answered() -> None:
    batch, truths = recorded("eg")
    directory = attributed(batch, "eg")
    seen = {
        (truth.path.split("?")[0], directory.backends[int(row["backend"])].backend_id)
        for row, truth in zip(batch, truths, strict=True)
        if truth.path.startswith(("/dead", "/refused", "/slow", "/invalid", "/old"))
    }
    assert seen == {
        ("/dead", ""),
        ("/invalid", ""),
        ("/old", ""),
        ("/old/", ""),
        ("/old/deep", ""),
        ("/refused", "shop/refused:8080"),
        ("/slow", "shop/api:8080"),
    }
    weights = {(ref.name, ref.weight) for ref in directory.backends}
    assert {("web", 95), ("web", 1), ("web-canary", 5), ("web-canary", 1)} <= weights


def test_no_route_has_a_listener_and_a_reason() -> None:
    batch, truths = recorded("eg")
    directory = attributed(batch, "eg")
    told = {
        truth.seq: directory.routes[int(row["route"])]
        for row, truth in zip(batch, truths, strict=True)
        if not truth.route
    }
    assert told["eg-0143"] == RouteRef("infra", "public", "http", reason="route_not_found")
    assert told["eg-0153"].reason == "path_normalization_failed"
    assert told["eg-0187"] == RouteRef("infra", "public", "tls", reason="filter_chain_not_found")
    rows = [row for row, truth in zip(batch, truths, strict=True) if not truth.route]
    assert {int(row["attribution"]) for row in rows} == {Attribution.LISTENER}


def entry(**columns: object) -> RequestBatch:
    batch = empty_requests(1)
    batch["kind"] = EntryKind.HTTP
    for name, value in columns.items():
        batch[name] = list(pack(str(value))) if name.endswith("_addr") else value
    return batch


def test_names_count_without_any_object() -> None:
    directory = Directory()
    batch = entry(
        route_name="httproute/shop/web/rule/2/match/1/www_shop_example",
        cluster="httproute/shop/web/rule/2",
        node_cluster="infra/public",
    )
    Attributor(directory).attribute(batch)
    ref = directory.routes[int(batch["route"][0])]
    assert ref == RouteRef("infra", "public", "", "HTTPRoute", "shop", "web", 2, 1)
    assert batch["attribution"][0] == Attribution.NAME
    assert batch["backend"][0] == 0


def test_a_cluster_alone_gives_route_or_backend() -> None:
    directory = attributed(first := entry(cluster="httproute/shop/web/rule/5", status=200), "eg")
    ref = directory.routes[int(first["route"][0])]
    assert (ref.route_id, ref.rule, ref.match) == ("HTTPRoute/shop/web", 5, 0)
    assert directory.backends[int(first["backend"][0])].backend_id == "pay/ledger:8080"
    assert first["attribution"][0] == Attribution.CLUSTER
    other = entry(cluster="outbound|50051||cart-grpc-v2.shop.svc.cluster.local")
    directory = attributed(other, "istio")
    assert directory.routes[int(other["route"][0])].route_id == "GRPCRoute/shop/cart"
    assert directory.routes[int(other["route"][0])].rule == 1
    assert other["attribution"][0] == Attribution.CLUSTER


def test_nothing_known_gives_nothing() -> None:
    batch = entry(host="x.example", path="/", local_port=9999, local_addr="10.9.9.9")
    directory = attributed(batch, "eg")
    assert [int(batch[name][0]) for name in ("route", "backend", "attribution")] == [0, 0, 0]
    assert len(directory.routes) == 1


def test_a_match_on_a_header_that_was_not_logged_is_found_by_who_answered() -> None:
    same = {
        "host": "www.shop.example",
        "path": "/debug",
        "method": "GET",
        "local_addr": "127.0.20.1",
        "local_port": 10080,
        "up_remote_port": 3000,
    }
    for upstream, rule in (("127.0.12.1", 2), ("127.0.10.1", 0)):
        batch = entry(**same, up_remote_addr=upstream)
        directory = attributed(batch, "eg")
        assert directory.routes[int(batch["route"][0])].rule == rule


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: moved, namespace: shop}
spec:
  parentRefs: [{name: public, namespace: infra, sectionName: http}]
  hostnames: [moved.example]
  rules:
    - backendRefs: [{name: web, port: 8080}]
    - matches: [{headers: [{name: User-Agent, value: "curl/.*", type: RegularExpression}]}]
      backendRefs: [{name: web-canary, port: 8080}]
    - matches: [{path: {value: /in}}]
      filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example}}]
      backendRefs: [{name: api, port: 8080}]
"""


@pytest.fixture
def with_moved(tmp_path: Path) -> Objects:
    path = tmp_path / "moved.yaml"
    path.write_text(ROUTE)
    return load_manifests([DATA / "routes.yaml", DATA / "eg.gateways.yaml", path], Losses())


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"host": "moved.example", "path": "/"}, 0),
        ({"host": "moved.example", "path": "/", "user_agent": "curl/8.1"}, 1),
        ({"host": "inner.example", "path": "/in/x", "up_remote_addr": "127.0.12.1"}, 2),
        ({"host": "inner.example", "headers": [{"x-envoy-original-host": "moved.example"}]}, 0),
    ],
)
def test_what_the_log_tells_of_hosts_and_agents(
    with_moved: Objects, columns: dict[str, object], rule: int
) -> None:
    directory = Directory()
    attributor = Attributor(directory, "eg")
    attributor.update(with_moved)
    place = {"local_addr": "127.0.20.1", "local_port": 10080, "up_remote_port": 3000}
    batch = entry(**{"path": "/", "method": "GET", **place, **columns})
    attributor.attribute(batch)
    ref = directory.routes[int(batch["route"][0])]
    assert (ref.name, ref.rule, ref.listener) == ("moved", rule, "http")


def test_requests_are_resolved_by_the_table_of_their_time() -> None:
    directory = Directory()
    attributor = Attributor(directory, "eg")
    before = bundle("eg")
    after = bundle("eg")
    del after.http_routes["shop", "web"]
    attributor.update(before, 1_000)
    attributor.update(after, 2_000)
    batch = np.concatenate(
        [
            entry(
                time_ns=moment,
                host="www.shop.example",
                path="/api/x",
                method="GET",
                local_addr="127.0.20.1",
                local_port=10080,
            )
            for moment in (5, 1_999, 2_000, 9_999)
        ]
    )
    attributor.attribute(batch)
    names = [directory.routes[index].name for index in batch["route"].tolist()]
    assert names == ["web", "web", "", ""]
    assert directory.routes[int(batch["route"][3])].reason == "unresolved"


def test_old_tables_are_let_go() -> None:
    directory = Directory()
    attributor = Attributor(directory, "eg")
    full, empty = bundle("eg"), bundle("eg")
    empty.http_routes.clear()
    attributor.update(full, 1_000)
    for step in range(MAX_TABLE_VERSIONS):
        attributor.update(empty, 2_000 + step)
    batch = entry(
        time_ns=1_500,
        host="www.shop.example",
        path="/",
        method="GET",
        local_addr="127.0.20.1",
        local_port=10080,
    )
    attributor.attribute(batch)
    assert not directory.routes[int(batch["route"][0])].kind


def test_objects_that_come_late_hold_for_the_past() -> None:
    directory = Directory()
    attributor = Attributor(directory, "eg")
    attributor.update(Objects())
    attributor.update(bundle("eg"))
    batch, truths = recorded("eg")
    attributor.attribute(batch)
    assert wrong(batch, truths, directory) == []


def test_invented_names_cannot_fill_the_directory() -> None:
    directory = Directory()
    attributor = Attributor(directory, "eg")
    attributor.update(bundle("eg"))
    batch = empty_requests(MAX_UNCONFIRMED * 2)
    batch["kind"] = EntryKind.HTTP
    batch["route_name"] = [
        f"httproute/a/b{row}/rule/0/match/0/x" for row in range(MAX_UNCONFIRMED * 2)
    ]
    attributor.attribute(batch)
    assert len(directory.routes) <= MAX_UNCONFIRMED + 1
    assert (batch["attribution"] == Attribution.NONE).sum() >= MAX_UNCONFIRMED
    good, truths = recorded("eg")
    attributor.attribute(good)
    assert wrong(good, truths, directory) == []


def test_the_rest_of_a_row_is_not_touched() -> None:
    batch, _ = recorded("eg")
    before = batch.copy()
    attributed(batch, "eg")
    for column in before.dtype.names or ():
        if column not in ("route", "backend", "attribution", "outcome"):
            assert (batch[column] == before[column]).all(), column


def test_an_empty_batch() -> None:
    batch = empty_requests(0)
    attributed(batch, "eg")
    assert len(batch) == 0


@pytest.mark.parametrize(("path", "conflicts"), [("", 0), ("/certainly/elsewhere", 1)])
def test_a_name_that_the_rules_contradict_is_kept_and_counted(path: str, conflicts: int) -> None:
    batch, truths = recorded("eg")
    at = next(
        index for index, truth in enumerate(truths) if truth.route and "/api" in truth.path[:4]
    )
    batch, kept = batch[at : at + 1].copy(), [truths[at]]
    if path:
        batch["path"] = path
    attributor = Attributor(directory := Directory(), "eg")
    attributor.update(bundle("eg"))
    attributor.attribute(batch)
    assert wrong(batch, kept, directory) == []
    assert attributor.conflicts == conflicts


@pytest.mark.parametrize("dialect", ["eg", "istio"])
def test_what_was_answered_once_is_answered_the_same_again(dialect: str) -> None:
    batch, truths = recorded(dialect)
    batch["route_name"] = batch["cluster"] = ""
    again = batch.copy()
    directory = Directory()
    attributor = Attributor(directory, dialect)
    attributor.update(bundle(dialect))
    attributor.attribute(batch)
    attributor.attribute(again)
    assert np.array_equal(batch["route"], again["route"])
    assert np.array_equal(batch["backend"], again["backend"])
    assert len(truths) == len(again)
