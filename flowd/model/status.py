"""State and detail of each part of the agent, for `flowd status` and `flowd check`."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """State of a part."""

    ON = "on"
    OFF = "off"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part (`capture`, `envoy-als`, `hubble`, ...), its state, and a line of detail."""

    part: str
    state: State
    detail: str = ""
