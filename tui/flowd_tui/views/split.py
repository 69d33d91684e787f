"""Latency split of a row's requests as a line of the detail pane (docs/latency.md)."""

from itertools import accumulate, pairwise
from typing import NamedTuple

from flowd.text import millis
from flowd_tui.data.store import AgentState
from flowd_tui.data.traffic import LatencySplit, Totals
from flowd_tui.draw.cells import Line, Span

BAR, SHORT_BAR = 24, 12


class _SplitPart(NamedTuple):
    name: str
    short: str
    letter: str
    style: str


PARTS = (
    _SplitPart("client net", "client", "c", "client"),
    _SplitPart("gateway", "gw", "g", "gateway"),
    _SplitPart("pod net", "pod net", "n", "network"),
    _SplitPart("pod", "pod", "p", "pod"),
)


def split_forms(totals: Totals) -> list[Line]:
    """Variants of one line, longest first: mean of each part in ms, share of requests with a split.

    No variants if no request has a split.
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


def unknown_split(totals: Totals, agent: AgentState) -> list[Line]:
    """Reason why no HTTP request has a split; no line if one has, or if there were no requests."""
    if totals.split.requests or not any(totals.status.keys() - {0}):
        return []
    missing = [
        part
        for part, state, _ in agent.parts
        if part in ("capture", "sockets") and state in ("off", "failed")
    ]
    why = (
        f" without {missing[0]}"
        if missing
        else ": connections older than the agent, or on another node"
    )
    return [[Span("split ", "dim"), Span(f"not known{why}")]]


def split_data(split: LatencySplit) -> dict[str, int] | None:
    """The sums in µs for `-o json`; None without requests."""
    if not split.requests:
        return None
    names = ("client_network_us", "gateway_us", "pod_network_us", "pod_us")
    return {"requests": split.requests} | dict(zip(names, split.parts, strict=True))


def bar_cells(parts: tuple[int, ...], width: int) -> list[int]:
    """Cells of each part of a bar of `width` cells; all 0 if all parts are 0."""
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    edges = [round(width * upto / whole) for upto in accumulate(parts, initial=0)]
    return [high - low for low, high in pairwise(edges)]


def _bar(split: LatencySplit, width: int) -> Line:
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


def _share(count: int, total: int) -> str:
    """Whole percents rounded down, so that 100% means all."""
    percent = 100 * count // max(total, 1)
    return f"{min(percent, 100)}%" if percent else "<1%"
