"""Write docs/attribution.md from recorded access logs; `--check` fails when it is out of date."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.attribution_truth import DIALECTS, Entry, manifests, paired, sources, tally

PAGE = ROOT / "docs" / "attribution.md"
NAMES = {
    "eg": "Envoy Gateway",
    "istio": "Istio",
    "contour": "Contour",
    "cilium": "Cilium",
    "kgateway": "kgateway",
}
EVIDENCE = ("name", "metadata", "resolver", "cluster", "listener", "none")

HEAD = """# Attribution

How requests come to their route, and what can be known from which log. The table is made by
`tools/docs_attribution.py`: `flowd replay` over what a real Envoy logged (`tests/data/accesslog`),
each entry compared with what the client asked for and which pod answered. The rows of Contour,
Cilium and kgateway are from configurations that `tests/envoy` makes of Gateway API objects the way
these implementations do; the test runs the same anew.

| names | source | entries | {evidence} | open | wrong |
| --- | --- | --- | {lines} | --- | --- |
"""

TAIL = """
The columns in the middle are the evidence that gave the route: `name` is Envoy's own names,
`metadata` that of Envoy's configuration, `resolver` the Gateway API's rules matched again on the
logged request, `listener` that no route took it, as with a 404, a redirect of Envoy's own, or a
server name that fits nothing. An entry is open when Gateway or listener stay unknown, and wrong when
Gateway, listener, route, rule, match or backend are said and are not the truth.

## What became of it
Every request, and every connection through a TCP proxy, has one word for what became of it, from
Envoy's response flags and details and from the rule that took it: `outcome` in `Flow.extensions` of
responses, `flowd.outcome` in spans, the label of `flowd_route_outcomes_total`. The flags and details
themselves stay beside it.

| outcome | when |
| --- | --- |
| `forwarded` | a backend answered, or took the connection |
| `retried` | a backend answered, not at the first attempt (`%UPSTREAM_REQUEST_ATTEMPT_COUNT%`) |
| `mirrored` | a backend answered, and the rule sends copies elsewhere (which no log shows) |
| `redirected` | Envoy answered with a redirect |
| `direct_response` | the route answers itself, as where a backendRef is not valid |
| `preflight` | `cors_response` |
| `no_route` | NR |
| `no_endpoints` | UH, NC, or Envoy Gateway's direct 503 of a rule without endpoints |
| `refused`, `connect_failed` | UF: refused where details or transport failure say so |
| `timed_out` | UT, DT, SI, UMSDR, or UF with a connect timeout |
| `broken_off` | UR, UC, UPE, LR |
| `rate_limited` | RL |
| `overloaded` | UO, OM |
| `fault` | FI |
| `denied` | UAEX, or the details of authorization filters |
| `client_gone` | DC, DR |
| `bad_request` | DPE, IH, or details of what is refused before routing |
| `local_reply` | Envoy answered for another reason, which the details tell |
| `unknown` | nothing says |

The default formats that log no details leave `preflight` a `direct_response` and `refused` a
`connect_failed`; without the number of attempts `retried` is `forwarded`.

## What cannot be known, and why
- **A rule that matches on a header** needs that header in the log where names do not tell the rule
  (Istio with rule names, Cilium, Contour). The default formats log none.
- **A TCP entry without a type**: the default formats do not log `%ACCESS_LOG_TYPE%`, so the entry of
  a connection's start or middle cannot be told from its end, where the gateway writes such.
- **Envoy's default text** (Contour too) and the samples of Cilium and kgateway have not the gateway's
  address: the route is that of the host and path on any Gateway, the listener stays open where
  several take the host, and no connection can be joined. Contour's TCP entries have no client.
- **Cilium** sets no route name; its clusters and virtual hosts tell the Gateway, the rules the route.
  Its TCPRoutes and UDPRoutes do not go through Envoy: their flows have no access-log entry.
- **kgateway** cannot log TLS and TCP listeners. Its route names join name and namespace by a hyphen:
  the known routes tell where one ends.
- **Contour** says kind, namespace and name in metadata, which file logs carry by their
  `contour_config_*` fields; the rule is matched again. It offers neither ALS nor OTLP itself: these
  rows are from an Envoy with the same configuration and loggers of its own.
- **Several Gateways behind one proxy** (`mergeGateways`, Cilium's Envoy on each node, a Service that
  several Gateways name in `spec.addresses`): their listeners' ports, then hosts, then routes decide
  among them. A route that is attached alike to two of them leaves the Gateway open; `reason` then is
  `shared by infra/a, infra/b`.
- **A path after a rewrite**, where the original one is not logged (`suppress_envoy_headers`), is turned
  back to the rules whose rewrite can have made it and that lead to the Service which answered. Where
  several do, the rule stays unknown; of several routes all stay unknown, with the reason `ambiguous`.
- **A client behind a trusted proxy**: `%DOWNSTREAM_REMOTE_ADDRESS%` then is the forwarded address
  with port 0, which is no socket; `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%` is. Both are kept: the socket's
  for the join, the forwarded one beside it. `trusted_hops` takes it from a logged `x-forwarded-for`
  where Envoy itself trusts no hop.
- **`%UPSTREAM_CLUSTER%`** is the cluster's other name where one is configured (Contour does);
  `%UPSTREAM_CLUSTER_RAW%` is always the real one.

## Replay
`flowd replay` reads recordings of every kind and writes one JSON line an entry. With `--to` it feeds
exporters instead: `hubble=ADDRESS` serves the flows until it is interrupted, `flow-log=FILE`,
`otlp=URL`, `prometheus[=FILE]` writes the metrics as text at the end. `--speed 1` keeps the pace of the
recording, `--speed 60` is sixty times faster, `max` does not wait. Times stay those of the recording.

## Formats
JSON entries are known by their keys: those of the default formats of Envoy Gateway, Istio, Contour
and Cilium, of the samples in kgateway's guide, and every operator's name in lower case
(`downstream_local_address`, `req_x_request_id`, `common_duration_ds_rx_beg_ds_tx_end_us`); `req_*`
are request headers. Text lines are known in the default formats of Envoy and Istio. For anything else
`--access-log-format` takes a file with the `json_format` or `text_format` of Envoy's configuration.

Operators that are read:

| operator | what it fills |
| --- | --- |
{operators}
All others are skipped. `-` and null both mean that there is no value.

## Files
`--access-log` follows a file, or all that a glob names. A file is known by its inode, so rotation by
rename neither loses nor repeats a line; one that became shorter, or begins otherwise, is read from
its start. The lines of container runtimes (CRI, docker's JSON) are unwrapped, so
`/var/log/pods/*/envoy/*.log` can be followed. A file that is there at the start is read from its end,
or with `--state-dir` from where the last agent stopped. Lines over 1 MiB are cut. While the agent
cannot keep up, the rest stays in the file.
"""


def replayed(dialect: str, arguments: list[str]) -> list[Entry]:
    """Run `flowd replay` over a recording and return its entries."""
    command = [sys.executable, "-m", "flowd", "replay", *manifests(dialect), "--dialect", dialect]
    done = subprocess.run([*command, *arguments], cwd=ROOT, check=True, capture_output=True)
    return paired(dialect, [json.loads(line) for line in done.stdout.splitlines()])


def operators() -> str:
    """Make a line of the table for each operator."""
    from flowd.accesslog.fields import field_of
    from flowd.accesslog.keys import OPERATORS
    from flowd.accesslog.operators import split_format

    found: dict[str, str] = {}
    for text in OPERATORS:
        (part,) = split_format(f"%{text}%")
        field = field_of(part) if not isinstance(part, str) else None
        if field:
            found[text] = field.target
    lines = [f"| `{text}` | {target} |\n" for text, target in sorted(found.items())]
    return "".join(lines) + "| `REQ(<any other header>)` | the request's headers |\n"


def page() -> str:
    """Make the whole page."""
    text = HEAD.format(evidence=" | ".join(EVIDENCE), lines=" | ".join("---" for _ in EVIDENCE))
    for dialect in DIALECTS:
        for source, arguments in sources(dialect).items():
            entries = replayed(dialect, arguments)
            counts = tally(entries)
            cells = [NAMES[dialect], source, str(len(entries))]
            cells += [str(counts[name] or "") for name in (*EVIDENCE, "open", "wrong")]
            text += f"| {' | '.join(cells)} |\n"
    return text + TAIL.replace("{operators}", operators())


def main() -> int:
    """Write or check the page; returns the exit code."""
    text = page()
    if "--check" in sys.argv:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        print("docs/attribution.md is out of date: run tools/docs_attribution.py", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
