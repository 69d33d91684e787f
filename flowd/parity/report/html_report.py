"""The report as a self-contained HTML page: no script, no font and no picture from elsewhere."""

from collections.abc import Sequence
from html import escape

from flowd.parity.catalog import advice, explain
from flowd.parity.compare.comparison import Summary
from flowd.parity.compare.differences import ParityVerdict
from flowd.parity.report.table import ORDER, outcome_text, request_text, share
from flowd.text import count

MOST_ROWS = 5000
"""Kinds of requests that are listed; the summary counts all of them."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1b1f24}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;vertical-align:top}
th,td{border-bottom:1px solid #d0d7de}code{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
.different{color:#b35900}.depends{color:#6639ba}.unknown{color:#57606a}.same{color:#0969da}
td.n{text-align:right;white-space:nowrap}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}
.different{color:#f0883e}.depends{color:#bc8cff}.unknown{color:#8b949e}.same{color:#58a6ff}}
"""


def html_page(verdicts: Sequence[ParityVerdict], summary: Summary) -> str:
    """The page: numbers, causes by traffic, and the kinds of requests that are not the same."""
    other = [each for each in verdicts if each.verdict != "same"]
    other.sort(key=lambda each: (ORDER.index(each.verdict), -each.request.count))
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>flowd parity</title><style>{STYLE}</style></head><body>",
        "<h1>Will the new routes treat the traffic as the old ones do?</h1>",
        _numbers(summary),
        _causes(summary, other),
        _kinds(other),
        "</body></html>\n",
    ]
    return "".join(parts)


def _numbers(summary: Summary) -> str:
    cells = "".join(
        f'<tr><td class="{name}">{name}</td><td class="n">{count(summary.verdicts[name])}</td>'
        f'<td class="n">{share(summary.verdicts[name], summary)}</td></tr>'
        for name in ("same", *ORDER)
    )
    left = "".join(
        f'<tr><td>not compared: {escape(why)}</td><td class="n">{count(n)}</td><td></td></tr>'
        for why, n in summary.unattributed.items()
    )
    return f"<p>{count(summary.requests)} requests were compared.</p><table>{cells}{left}</table>"


def _causes(summary: Summary, other: Sequence[ParityVerdict]) -> str:
    if not other:
        return "<p>No request would be treated differently.</p>"
    rows = "".join(
        f"<tr><td>{escape(cause)}</td><td>{escape(explain(cause))}</td>"
        f"<td>{escape(advice(cause))}</td>"
        f'<td class="n">{count(hit)}</td><td class="n">{share(hit, summary)}</td></tr>'
        for cause, hit in summary.by_cause.most_common()
    )
    head = "<tr><th>cause</th><th>what happens</th><th>what to change</th><th>requests</th><th></th></tr>"
    return f"<h2>Causes</h2><table>{head}{rows}</table>"


def _kinds(other: Sequence[ParityVerdict]) -> str:
    rows = "".join(
        f'<tr><td class="{each.verdict}">{each.verdict}</td><td>{escape(each.cause)}</td>'
        f"<td><code>{escape(request_text(each.request))}</code></td>"
        f"<td><code>{escape(outcome_text(each.before))}</code></td>"
        f"<td><code>{escape(outcome_text(each.after))}</code></td>"
        f'<td class="n">{count(each.request.count)}</td></tr>'
        for each in other[:MOST_ROWS]
    )
    if not rows:
        return ""
    head = "<tr><th></th><th>cause</th><th>request</th><th>before</th><th>after</th><th>count</th></tr>"
    more = len(other) - MOST_ROWS
    note = f"<p>{count(more)} further kinds are not listed.</p>" if more > 0 else ""
    return f"<h2>Requests</h2><table>{head}{rows}</table>{note}"
