"""The report as a table for the terminal: causes by traffic, each with an example and what to change."""

from collections import defaultdict
from collections.abc import Sequence

from flowd.parity.catalog import advice, explain
from flowd.parity.compare.comparison import Summary
from flowd.parity.compare.differences import ParityVerdict
from flowd.parity.outcome import Outcome, ParityRequest
from flowd.text import count, printable

ORDER = ("different", "depends", "unknown")
SHOWN = 72
"""Characters of an example's target."""


def table(verdicts: Sequence[ParityVerdict], summary: Summary) -> str:
    """The summary, then a block for each cause in the order of the requests that it hits."""
    lines = [_head(summary), ""]
    groups: dict[tuple[str, str], list[ParityVerdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.verdict != "same":
            groups[verdict.verdict, verdict.cause].append(verdict)
    ordered = sorted(
        groups.items(),
        key=lambda group: (ORDER.index(group[0][0]), -sum(each.request.count for each in group[1])),
    )
    for (kind, cause), found in ordered:
        hit = sum(each.request.count for each in found)
        example = max(found, key=lambda each: each.request.count)
        lines.append(f"{kind.upper():<10} {cause}  {count(hit)} requests, {share(hit, summary)}")
        lines.append(f"           {explain(cause)}")
        lines.append(f"  example  {request_text(example.request)}")
        lines.append(f"  before   {outcome_text(example.before)}")
        lines.append(f"  after    {outcome_text(example.after)}")
        if example.implementations:
            lines.append(f"  differs  with {', '.join(example.implementations)}")
        if todo := advice(cause):
            lines.append(f"  change   {todo}")
        lines.append("")
    if not ordered:
        lines += ["No request would be treated differently.", ""]
    return "\n".join(lines)


def _head(summary: Summary) -> str:
    parts = [f"{count(summary.requests)} requests"]
    parts += [
        f"{name} {count(hit)} ({share(hit, summary)})"
        for name in ("same", *ORDER)
        if (hit := summary.verdicts[name])
    ]
    text = ", ".join(parts)
    if summary.unattributed:
        left = ", ".join(f"{count(n)} {why}" for why, n in summary.unattributed.items())
        text += f"\nnot compared: {left}"
    return text


def share(hit: int, summary: Summary) -> str:
    """A number of requests as a percentage of all."""
    return f"{100 * hit / summary.requests:.2f} %" if summary.requests else "0 %"


def request_text(request: ParityRequest) -> str:
    """`GET https://host/path` with the headers that it has."""
    target = printable(request.path, SHOWN)
    headers = "".join(
        f"  {printable(k, 40)}: {printable(v, 40)}" for k, v in request.headers.items()
    )
    return f"{printable(request.method, 16)} {request.scheme}://{printable(request.host or '', 256)}{target}{headers}"


def outcome_text(outcome: Outcome) -> str:
    """An outcome in a line: status, backend and path, or the redirect."""
    status = {None: "unknown", 0: "connection refused"}.get(outcome.status, str(outcome.status))
    parts = [status]
    if outcome.shares:
        parts.append(", ".join(f"{name} {value:.0%}" for name, value in outcome.shares.items()))
    elif outcome.backend:
        parts.append(outcome.backend)
    if outcome.location:
        parts.append(f"→ {printable(outcome.location, SHOWN)}")
    elif outcome.upstream_path:
        parts.append(printable(outcome.upstream_path, SHOWN))
    if outcome.rule:
        parts.append(f"({printable(outcome.rule, 96)})")
    return " ".join(parts)
