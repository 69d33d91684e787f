"""Programs built from published Go modules, each in a module of our own that only names them."""

import os
import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.cluster.commands import GENTLE, run
from tests.cluster.errors import ClusterError
from tests.cluster.parts.part import Part
from tests.cluster.say import say

MINIMUM = (1, 26)
ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod", "GOWORK": "off"}


@cache
def go() -> Path:
    """The machine's go command.

    Raises:
        ClusterError: there is none, or it is too old.
    """
    found = shutil.which("go")
    if found is None:
        raise ClusterError(
            "Go is not installed", "Go 1.26 or newer builds most parts of the cluster"
        )
    version = run([found, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).strip()
    numbers = re.match(r"go(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < MINIMUM:
        raise ClusterError(f"Go is {version}; the parts of the cluster need 1.26 or newer")
    return Path(found)


def module_folder(module: str, version: str) -> Path:
    """Where the module cache has the sources of a module; downloads them first."""
    run([go(), "mod", "download", f"{module}@{version}"], cwd=Path("/"), env=ENVIRONMENT)
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


def programs_of(packages: Mapping[str, str], module_version: str, *extra: str) -> "Builder":
    """A maker of a part whose programs are commands of published modules.

    Args:
        packages: import path of each program by its name.
        module_version: the version of the module that holds them.
        extra: modules asked for first, as module@version.
    """
    return Builder(dict(packages), module_version, extra)


class Builder:
    """Makes programs by `go get -tool`, which leaves the modules' own choice of versions alone."""

    def __init__(self, packages: dict[str, str], version: str, extra: tuple[str, ...]) -> None:
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
