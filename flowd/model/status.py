"""What the agent says of its own parts, for `flowd status` and `flowd check`."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How well a part works."""

    ON = "on"
    OFF = "off"
    DEGRADED = "degraded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One part (`capture`, `envoy-als`, `hubble`, ...), its state, and one line of detail."""

    part: str
    state: State
    detail: str = ""
