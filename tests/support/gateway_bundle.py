"""The Gateway API bundle of tests/data/manifests, read once."""

from functools import cache
from pathlib import Path

from flowd.gateway.table.route_table import RouteTable
from flowd.kubernetes.manifests import load_manifests
from flowd.kubernetes.objects.snapshot import Objects
from flowd.model.losses import Losses

DATA = Path(__file__).parent.parent / "data" / "manifests"


@cache
def tutorial() -> Objects:
    """Gateway `store/front` with five listeners, its routes, Services and Pods."""
    return load_manifests([DATA], Losses())


@cache
def tutorial_table(dialect: str = "spec") -> RouteTable:
    """The route table of the bundle."""
    return RouteTable.build(tutorial(), dialect)


def objects_of(tmp_path: Path, text: str) -> Objects:
    """The bundle with additional objects, given as YAML."""
    path = tmp_path / "more.yaml"
    path.write_text(text)
    return load_manifests([DATA, path], Losses())
