"""Rooms of the house: no circles of imports, no crowded package, a sign at every door."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.hygiene.test_house import tracked
from tools.docs_rooms import PAGE, page
from tools.rooms import ROOT, Arrows, House, reduced

MOST_MODULES = 15
SIGNED = ("flowd", "bpf", "exporters", "tui", "deploy")


@pytest.fixture(scope="module")
def house() -> House:
    return House()


def circle(arrows: Arrows) -> list[str]:
    """One circle of the graph, [] if there is none."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others(house: House) -> None:
    assert len(house.modules) > 300
    assert not circle(house.modules)


def test_no_room_imports_itself_by_way_of_others(house: House) -> None:
    assert len(house.rooms) > 40
    assert not circle(house.rooms)
    assert not circle(house.floors())


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {
        "a": {"b"},
        "b": {"c"},
        "c": set(),
    }


def packages() -> dict[Path, list[Path]]:
    """Modules by folder, of the code that is not test or tool."""
    folders: dict[Path, list[Path]] = {}
    for path in tracked(*(f"{folder}/**/*.py" for folder in SIGNED)):
        folders.setdefault(path.parent, []).append(path)
    return folders


def test_no_package_is_crowded() -> None:
    crowded = {str(folder): len(modules) for folder, modules in packages().items()}
    assert len(crowded) > 40
    assert not {folder: n for folder, n in crowded.items() if n > MOST_MODULES}


def test_no_folder_of_kernel_sources_is_crowded() -> None:
    folders: dict[Path, int] = {}
    for path in tracked("bpf/src/*.[ch]", "bpf/src/**/*.[ch]"):
        folders[path.parent] = folders.get(path.parent, 0) + 1
    assert folders
    assert max(folders.values()) <= MOST_MODULES


def test_every_package_has_a_sign() -> None:
    silent = [
        str(folder.relative_to(ROOT))
        for folder, modules in packages().items()
        if (folder / "__init__.py") in modules
        and "_pb2" not in "".join(path.name for path in folder.iterdir())
        and not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert not silent


def test_the_picture_of_rooms_is_fresh(house: House) -> None:
    text = PAGE.read_text()
    assert page(text, house) == text, "run `make docs`"
