"""Kubernetes' own programs from the module k8s.io/kubernetes, whose go.mod names folders it does not hold."""

import re

from tests.cluster.commands import GENTLE, run
from tests.cluster.parts import golang
from tests.cluster.parts.part import Part
from tests.cluster.say import say

MODULE = "k8s.io/kubernetes"
STAGED = re.compile(r"^\s*(k8s\.io/\S+) => \./staging/", re.MULTILINE)


def go_mod(upstream: str, version: str) -> str:
    """A go.mod that requires Kubernetes with its staged modules at their published version.

    Args:
        upstream: Kubernetes' own go.mod.
        version: as v1.37.2; its staged modules are v0.37.2.
    """
    staged = "v0." + version.removeprefix("v1.")
    names = sorted(set(STAGED.findall(upstream)))
    lines = [
        "module flowd.test/kubernetes",
        "",
        "go 1.26.0",
        "",
        f"require {MODULE} {version}",
        "",
        "replace (",
    ]
    lines += [f"\t{name} => {name} {staged}" for name in names]
    return "\n".join([*lines, ")", ""])


def make(part: Part) -> None:
    """Build every program of the part that is not there."""
    module = golang.begin(part)
    if not (module / "go.sum").exists():
        say(f"{part.name} {part.version}: fetching modules")
        source = golang.module_folder(MODULE, part.version)
        (module / "go.mod").write_text(go_mod((source / "go.mod").read_text(), part.version))
        imports = "\n".join(
            f'\t_ "{MODULE}/cmd/{name.rpartition("/")[2]}"' for name in part.programs
        )
        (module / "tools.go").write_text(
            f"//go:build tools\n\npackage tools\n\nimport (\n{imports}\n)\n"
        )
        run([*GENTLE, golang.go(), "mod", "tidy"], cwd=module, env=golang.ENVIRONMENT, log=part.log)
    for program in part.missing():
        name = program.rpartition("/")[2]
        golang.compile_program(
            part, module, f"{MODULE}/cmd/{name}", program, flags=_flags(part.version)
        )


def _flags(version: str) -> str:
    """Linker flags that give the programs their version, as Kubernetes' own build does."""
    major, minor, _ = version.removeprefix("v").split(".")
    place = "k8s.io/component-base/version"
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s -w", *(f"-X {place}.{name}={value}" for name, value in values.items())])
