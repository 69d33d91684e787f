"""Where the time of a row's requests went, as one line of its detail (docs/latency.md)."""

from itertools import accumulate, pairwise
from typing import NamedTuple

from flowd.text import millis
from flowd_tui.data.store import AgentState
from flowd_tui.data.traffic import Split, Totals
from flowd_tui.draw.cells import Line, Span

BAR, SHORT_BAR = 24, 12


class _Part(NamedTuple):
    name: str
    short: str
    letter: str
    style: str


PARTS = (
    _Part("client net", "client", "c", "client"),
    _Part("gateway", "gw", "g", "gateway"),
    _Part("pod net", "pod net", "n", "network"),
    _Part("pod", "pod", "p", "pod"),
)


def split_forms(totals: Totals) -> list[Line]:
    """Mean of each part in milliseconds and the share of requests that tell it, longest form first.

    Nothing where no request tells it.
    """
    split = totals.split
    if not split.requests:
        return []
    means = [millis(1000 * part / split.requests) if part else "0" for part in split.parts]
    known = f"of {_share(split.requests, totals.requests)}"
    long = _line([part.name for part in PARTS], means, "  ")
    short = _line([part.short for part in PARTS], means, " ")
    return [
        [*long, *_bar(split, BAR), Span(f"  {known} of requests", "dim")],
        [*long, *_bar(split, SHORT_BAR), Span(f"  {known}", "dim")],
        [*long, Span(f"  {known}", "dim")],
        [*short, Span(f" {known}", "dim")],
    ]


def not_known(totals: Totals, agent: AgentState) -> list[Line]:
    """Why no HTTP request tells its split; nothing where one does, or where there was none."""
    if totals.split.requests or not any(totals.status.keys() - {0}):
        return []
    off = [
        part
        for part, state, _ in agent.parts
        if part in ("capture", "sockets") and state in ("off", "failed")
    ]
    why = f" without {off[0]}" if off else ": connections older than the agent, or on another node"
    return [[Span("split ", "dim"), Span(f"not known{why}")]]


def split_data(split: Split) -> dict[str, int] | None:
    """The same unrounded, for `-o json`: sums over `requests`, or None."""
    if not split.requests:
        return None
    names = ("client_network_us", "gateway_us", "pod_network_us", "pod_us")
    return {"requests": split.requests} | dict(zip(names, split.parts, strict=True))


def bar_cells(parts: tuple[int, ...], width: int) -> list[int]:
    """`width` cells shared out by the parts; none where all are 0."""
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    edges = [round(width * upto / whole) for upto in accumulate(parts, initial=0)]
    return [high - low for low, high in pairwise(edges)]


def _bar(split: Split, width: int) -> Line:
    cells = bar_cells(split.parts, width)
    bars = [
        Span(part.letter * length, f"bar-{part.style}")
        for part, length in zip(PARTS, cells, strict=True)
    ]
    return [Span("  "), *bars]


def _line(names: list[str], means: list[str], gap: str) -> Line:
    line = [Span("split ", "dim")]
    for part, name, mean in zip(PARTS, names, means, strict=True):
        line += [Span(f"{name} ", f"part-{part.style}"), Span(f"{mean}{gap}")]
    return [*line[:-1], Span(f"{means[-1]} ms")]


def _share(some: int, of: int) -> str:
    """Whole percents, rounded down, so that 100% are all of them."""
    percent = 100 * some // max(of, 1)
    return f"{min(percent, 100)}%" if percent else "<1%"
