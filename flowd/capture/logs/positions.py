"""Save and load the positions in followed access-log files, across restarts of the agent."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from flowd.capture.logs.tail import Position

log = logging.getLogger(__name__)
NAME = "access-log-positions.json"
_MAX_BYTES = 16 << 20


class Positions:
    """The file with the positions; failures to read or write it are logged.

    Attributes:
        known: positions by path as loaded; empty without a folder or a readable file.
    """

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / NAME if folder else None
        self._written: dict[str, Position] = {}
        self.known = self._load()

    def save(self, positions: dict[str, Position]) -> None:
        """Replace the file atomically if the positions by path changed."""
        if self._path is None or positions == self._written:
            return
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({path: list(at) for path, at in positions.items()}))
            os.replace(part, self._path)
        except OSError as error:
            log.warning("positions in access logs not kept: %s", error)
            return
        self._written = positions

    def _load(self) -> dict[str, Position]:
        if self._path is None:
            return {}
        try:
            with self._path.open("rb") as file:
                found: Any = json.loads(file.read(_MAX_BYTES))
            return {
                str(path): Position(int(at[0]), int(at[1]), bytes.fromhex(at[2]).hex(), int(at[3]))
                for path, at in found.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
            log.warning("positions in access logs not known: %s: %s", self._path, error)
            return {}
