"""Corpus of requests for every rule of the specification, each with the required result."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flowd.gateway.report.simulate import MatchedRoute, Request, SimulationResult, match_request
from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.losses import Losses

DATA = Path(__file__).parents[3] / "data" / "routes"


def cases() -> list[Any]:
    found: list[Any] = []
    for path in sorted(DATA.glob("*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found.append(pytest.param(path.stem, json.loads(line), id=f"{path.stem}-{number}"))
    return found


@cache
def objects(name: str) -> Objects:
    losses = Losses()
    read = load_manifests([DATA / f"{name}.yaml"], losses)
    assert not losses.snapshot(), "every object of the corpus is well formed"
    return read


@cache
def table(name: str, dialect: str) -> RouteTable:
    return RouteTable.build(objects(name), dialect)


def text(route: MatchedRoute) -> str:
    return f"{route.kind}/{route.namespace}/{route.name}#{route.rule}.{route.match}"


def told(outcome: SimulationResult) -> dict[str, Any]:
    """The result in the format of the corpus."""
    plain = json.loads(msgspec.json.encode(outcome))
    backends = outcome.backends
    mirrors = outcome.mirrors or []
    merged = outcome.merged or []
    return {
        **plain,
        **plain.get("rewritten", {}),
        "route": text(outcome.route) if outcome.route else None,
        "weights": [f"{backend.name}:{backend.weight}" for backend in backends],
        "reasons": [backend.reason or "" for backend in backends],
        "mirrors": [mirror.name for mirror in mirrors],
        "merged": [text(route) for route in merged],
    }


def test_the_corpus_is_large_enough() -> None:
    assert len(cases()) >= 300


@pytest.mark.parametrize(("name", "case"), cases())
def test_what_becomes_of_a_request(name: str, case: dict[str, Any]) -> None:
    found = told(
        match_request(
            table(name, case.get("dialect", "spec")), msgspec.convert(case["request"], Request)
        )
    )
    seen = {key: found.get(key) for key in case["expect"]}
    assert seen == case["expect"], case["why"]
