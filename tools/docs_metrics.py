"""Write docs/metrics.md from the table of metrics; `--check` fails when it is out of date."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "exporters")]

from flowd_exporters.prometheus.metric import LABELS, Metric
from flowd_exporters.prometheus.metric_definitions import METRICS, PROCESS_METRICS

PAGE = ROOT / "docs" / "metrics.md"

HEAD = """# Metrics

Made from `exporters/flowd_exporters/prometheus/metric_definitions.py` by `make docs`. They are served on
`http://127.0.0.1:9965/metrics` (setting `metrics_listen`), as Prometheus text or OpenMetrics, whichever
the client asks for. `/healthz` answers while the agent lives, `/readyz` is 503 while a part of it
has failed.

* A metric has at most 10,000 label sets (setting `max_series`). A full metric first forgets label
  sets that were idle for an hour. What is over the bound even so is added to a series whose labels
  are all `other`, and counted in `flowd_lost_total{place="series"}` under the name of the metric;
  bytes and packets share the label sets of `flowd_connections_total`.
* No label is an address of traffic, a pod, a path or an id. Label values are printable and at most
  256 characters.
* Both nodes of a connection report it. To count it once, keep one `traffic_direction`, as with
  Hubble's `reporter`.
* A connection through a Service, NodePort or masquerade has two tuples, and where both cross captured
  interfaces it is two connections: `nat="before"` with the addresses its initiator sees (the Service),
  `nat="after"` with those its responder sees (the pod). To count it once, leave one of them out:
  `nat!="before"` has the real backends of Services, `nat!="after"` the real clients behind a
  masquerade. What has no translation is `nat="none"`.
* `flowd_route_duration_seconds` carries the trace id of sampled requests as exemplar (OpenMetrics).
* The `hubble_*` names are Hubble's, so that dashboards made for Hubble work.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD, "\n## Metrics\n"]
    for metric in METRICS:
        parts.append(f"\n### `{metric.name}`\n\n{_kind(metric)} {metric.help}\n")
        if metric.labels:
            parts.append(f"\nLabels: {', '.join(f'`{label}`' for label in metric.labels)}.\n")
        if metric.buckets:
            bounds = " ".join(f"{bound:g}" for bound in metric.buckets)
            parts.append(f"\nBuckets: {bounds}.\n")
    parts.append("\n### The process\n\nAs every Prometheus client has them: ")
    parts.append(", ".join(f"`{name}`" for name in PROCESS_METRICS) + ".\n")
    parts.append("\n## Labels\n\n")
    parts.append("Cardinality on one node: *fine* is a handful of values, or one a workload,\n")
    parts.append("route or backend; *careful* can grow with what clients and proxies do.\n\n")
    parts.append("| label | cardinality | value |\n| --- | --- | --- |\n")
    used = {label for metric in METRICS for label in metric.labels}
    parts += [
        f"| `{label.name}` | {label.cardinality} | {label.help} |\n"
        for label in LABELS.values()
        if label.name in used
    ]
    return "".join(parts)


def _kind(metric: Metric) -> str:
    return f"{metric.type.capitalize()}{f', {metric.unit}' if metric.unit else ''}."


def main() -> int:
    """Write or check the page; returns the exit code."""
    text = page()
    if "--check" in sys.argv:
        if PAGE.is_file() and PAGE.read_text() == text:
            return 0
        print("docs/metrics.md is out of date: run `make docs`", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
