"""Compare two sides over many kinds of requests: verdicts, causes, and their summary."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flowd.parity.compare.causes import UNEXPLAINED, Case, cause
from flowd.parity.compare.differences import ParityVerdict, differences
from flowd.parity.compare.sides import NginxSide, Side
from flowd.parity.nginx.servers import Configuration
from flowd.parity.outcome import Outcome, ParityRequest


@dataclass(slots=True)
class Summary:
    """Requests by verdict, and different ones by cause.

    Attributes:
        requests: number of requests, not of kinds.
        unattributed: requests of a log that could not be compared, by reason.
    """

    requests: int = 0
    verdicts: Counter[str] = field(default_factory=Counter[str])
    by_cause: Counter[str] = field(default_factory=Counter[str])
    unattributed: Counter[str] = field(default_factory=Counter[str])

    def add(self, verdict: ParityVerdict) -> None:
        """Count a verdict."""
        count = verdict.request.count
        self.requests += count
        self.verdicts[verdict.verdict] += count
        if verdict.cause:
            self.by_cause[verdict.cause] += count

    @property
    def share_different(self) -> float:
        """Share of the requests that are different, 0 to 1."""
        return self.verdicts["different"] / self.requests if self.requests else 0.0


class Comparison:
    """Two sides; the after side under each implementation that may apply.

    Args:
        afters: after sides by dialect; several where the implementation is not known.
    """

    def __init__(self, before: Side, afters: Mapping[str, Side]) -> None:
        self._before = before
        self._afters = afters

    @property
    def configuration(self) -> Configuration | None:
        """The configuration of ingress-nginx on the before side; None for Gateway API objects."""
        return self._before.configuration if isinstance(self._before, NginxSide) else None

    def compare(self, request: ParityRequest) -> ParityVerdict:
        """The verdict on a kind of request."""
        before = self._before.evaluate(request)
        outcomes = {name: side.evaluate(request) for name, side in self._afters.items()}
        differing = {name: differences(before, after) for name, after in outcomes.items()}
        first = next(iter(outcomes))
        shown = next((name for name, parts in differing.items() if parts), first)
        after, differs = outcomes[shown], differing[shown]
        if before.unknown:
            return ParityVerdict(request, "unknown", before.unknown[0], [], before, after)
        if after.status is None and not differs:
            return ParityVerdict(request, "unknown", UNEXPLAINED, [], before, after)
        if not differs:
            return ParityVerdict(request, "same", "", [], before, after)
        name = self._cause(request, before, after, differs)
        verdict = "different" if all(differing.values()) else "depends"
        verdicts = ParityVerdict(request, verdict, name, differs, before, after)
        if verdict == "depends":
            verdicts.implementations = [name for name, parts in differing.items() if parts]
        return verdicts

    def _cause(
        self, request: ParityRequest, before: Outcome, after: Outcome, differs: list[str]
    ) -> str:
        configuration = self.configuration
        if configuration is None:
            return "routes-changed"
        return cause(Case(configuration, request, before, after, differs))

    def run(self, requests: Iterable[ParityRequest]) -> tuple[list[ParityVerdict], Summary]:
        """Verdicts of all kinds in their order, and their summary."""
        summary = Summary()
        verdicts: list[ParityVerdict] = []
        for request in requests:
            verdict = self.compare(request)
            summary.add(verdict)
            verdicts.append(verdict)
        return verdicts, summary
