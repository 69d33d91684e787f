"""Rooms and arrows of the house: packages and the imports between them, read from the code by grimp.

A room is a package, or a module that lies loose in `flowd/`. Generated protobuf code belongs to the
room `flowd.wire`. Imports under TYPE_CHECKING count as imports.
"""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "flowd": ROOT,
    "flowd_bpf": ROOT / "bpf",
    "flowd_exporters": ROOT / "exporters",
    "flowd_tui": ROOT / "tui",
    "demo": ROOT / "deploy",
}

Arrows = dict[str, set[str]]
"""Names that a room, or a module, imports from, by its own name."""


class House:
    """The import graph of all packages.

    Attributes:
        modules: arrows between modules.
        rooms: arrows between rooms.
        sizes: number of modules in each room, with `__init__`, without those of rooms inside it.
    """

    def __init__(self, packages: Mapping[str, Path] = PACKAGES) -> None:
        self._folders = packages
        sys.path[:0] = [str(folder) for folder in packages.values()]
        graph = grimp.build_graph(*packages, cache_dir=None)
        kept = {module for module in graph.modules if "_pb2" not in module}
        self._packages = {module for module in kept if graph.find_children(module)}
        self.modules: Arrows = {
            module: set(graph.find_modules_directly_imported_by(module)) & kept for module in kept
        }
        self.rooms: Arrows = {}
        self.sizes: dict[str, int] = {}
        for module in kept:
            room = self.room(module)
            self.sizes[room] = self.sizes.get(room, 0) + 1
            imported = map(self.room, graph.find_modules_directly_imported_by(module))
            self.rooms.setdefault(room, set()).update(set(imported) - {room})

    def room(self, module: str) -> str:
        """The room that a module lies in."""
        if module.startswith("flowd.wire"):
            return "flowd.wire"
        parent = module.rpartition(".")[0]
        return module if module in self._packages or parent == "flowd" else parent

    def floors(self) -> Arrows:
        """Arrows between top-level rooms: packages directly in `flowd/`, and the other packages."""
        floors: Arrows = {}
        for room, imported in self.rooms.items():
            arrows = floors.setdefault(top(room), set())
            arrows.update(set(map(top, imported)) - {top(room)})
        return floors

    def sign(self, room: str) -> str:
        """First sentence of the room's docstring; "" without one."""
        head, *rest = room.split(".")
        path = self._folders[head].joinpath(head, *rest)
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = ast.get_docstring(ast.parse(file.read_text())) or ""
        return text.partition("\n")[0]


def top(room: str) -> str:
    """The top-level room that a room lies in."""
    return ".".join(room.split(".")[: 2 if room.startswith("flowd.") else 1])


def reduced(arrows: Arrows) -> Arrows:
    """Arrows without those that a longer way implies (transitive reduction of a graph without circles)."""

    def reach(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for following in arrows.get(waiting.pop(), ()):
                if following not in found:
                    found.add(following)
                    waiting.append(following)
        return found

    return {
        room: {
            each
            for each in imported
            if not any(each in reach(other) for other in imported - {each})
        }
        for room, imported in arrows.items()
    }
