"""The report as JSON: one line for each kind of request, then one with the summary."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from flowd.parity.catalog import advice, explain
from flowd.parity.compare.comparison import Summary
from flowd.parity.compare.differences import ParityVerdict
from flowd.parity.outcome import Outcome


def json_lines(verdicts: Sequence[ParityVerdict], summary: Summary) -> Iterator[bytes]:
    """Lines of JSON, each with its newline."""
    for verdict in verdicts:
        yield msgspec.json.encode(verdict_object(verdict)) + b"\n"
    yield msgspec.json.encode({"summary": summary_object(summary)}) + b"\n"


def verdict_object(verdict: ParityVerdict) -> dict[str, Any]:
    """A verdict as the contract of `flowd parity -o json` has it."""
    request = verdict.request
    made: dict[str, Any] = {
        "request": {
            "host": request.host,
            "method": request.method,
            "path": request.path,
            "scheme": request.scheme,
            "headers": request.headers,
        },
        "count": request.count,
        "verdict": verdict.verdict,
        "cause": verdict.cause or None,
        "differs": verdict.differs,
        "before": _outcome(verdict.before),
        "after": _outcome(verdict.after),
    }
    if verdict.cause:
        made["explanation"], made["advice"] = explain(verdict.cause), advice(verdict.cause)
    if verdict.implementations:
        made["implementations"] = verdict.implementations
    return made


def summary_object(summary: Summary) -> dict[str, Any]:
    """The summary: requests by verdict, different ones by cause, and what could not be compared."""
    return {
        "requests": summary.requests,
        **{name: summary.verdicts[name] for name in ("same", "different", "unknown", "depends")},
        "by_cause": dict(summary.by_cause.most_common()),
        "unattributed": dict(summary.unattributed),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "backend": outcome.backend or None,
        "upstream_path": outcome.upstream_path or None,
        "location_header": outcome.location or None,
        "shares": outcome.shares or None,
        "rule": outcome.rule or None,
    }
