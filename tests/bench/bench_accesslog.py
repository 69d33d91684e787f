"""Lines a second on one core: from bytes to REQUEST rows, and attributed.

    python -m tests.bench.bench_accesslog

Lines are those of a real Envoy (tests/data/accesslog), repeated; routes are those it served.
"""

import gzip
import statistics
import time
from pathlib import Path

from flowd.accesslog.lines import LineParser
from flowd.gateway.attribute import Attributor
from flowd.kubernetes.manifests import load_manifests
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from tests.attribution_truth import LOGS, MANIFESTS

FILES = {
    "Envoy Gateway, JSON": ("eg", "eg.http.default.jsonl.gz"),
    "Istio, text": ("istio", "istio.http.default.log.gz"),
    "123 operators, JSON": ("eg", "eg.http.all.jsonl.gz"),
}
LINES, RUNS, BATCH = 20_000, 5, 2_000


def rates(dialect: str, lines: list[bytes]) -> tuple[float, float]:
    """Lines a second without and with attribution."""
    directory = Directory()
    attributor = Attributor(directory, dialect)
    paths = [MANIFESTS / "routes.yaml", MANIFESTS / f"{dialect}.gateways.yaml"]
    attributor.update(load_manifests([Path(path) for path in paths], Losses()), 0)
    parser = LineParser(Losses())
    parsing = attributing = 0.0
    for start in range(0, len(lines), BATCH):
        began = time.perf_counter()
        for line in lines[start : start + BATCH]:
            parser.add(line)
        batch = parser.take()
        parsed = time.perf_counter()
        attributor.attribute(batch)
        parsing += parsed - began
        attributing += time.perf_counter() - parsed
    return len(lines) / parsing, len(lines) / (parsing + attributing)


def main() -> None:
    print("| lines | parsed/s | parsed and attributed/s |")
    print("| --- | --- | --- |")
    for name, (dialect, file) in FILES.items():
        recorded = gzip.decompress((LOGS / file).read_bytes()).splitlines()
        lines = (recorded * (LINES // len(recorded) + 1))[:LINES]
        runs = [rates(dialect, lines) for _ in range(RUNS)]
        parsed, attributed = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| {name} | {parsed:,.0f} | {attributed:,.0f} |")


if __name__ == "__main__":
    main()
