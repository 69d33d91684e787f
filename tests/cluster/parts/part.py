"""A part: programs of one version in one folder of the cache, made once and resumable."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import places


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the cluster.

    Attributes:
        name, version: name its folder in the cache.
        programs: the files below that folder which must be there when it is finished.
        make: makes what is missing of it, and takes the part itself.
        seconds: roughly how long that takes on two cores.
        needed_for: what the cluster lacks without it.
        vital: nothing runs without it.
    """

    name: str
    version: str
    programs: tuple[str, ...]
    make: Callable[["Part"], None]
    seconds: int
    needed_for: str
    vital: bool = False

    @property
    def folder(self) -> Path:
        return places.cache() / f"{self.name}-{self.version}"

    @property
    def log(self) -> Path:
        return self.folder / "build.log"

    def path(self, program: str) -> Path:
        """A program of the part, by the last part of its name."""
        for name in self.programs:
            if name.rpartition("/")[2] == program:
                return self.folder / name
        raise KeyError(program)

    def missing(self) -> list[str]:
        """Programs that are not there yet."""
        return [name for name in self.programs if not (self.folder / name).exists()]
