"""Record logs of a real Envoy with the names of Contour, Cilium and kgateway into tests/data.

python -m tests.envoy.record_dialects
"""

import gzip
import json
import tempfile
from pathlib import Path

from tests.envoy.dialect_run import Run, run_dialect
from tests.envoy.dialects import DIALECTS
from tests.support.attribution_truth import LOGS, MANIFESTS

TRUTH = (
    "request_id",
    "client",
    "gateway",
    "listener",
    "route",
    "backend",
    "status",
    "method",
    "path",
)


def record(dialect: str, run: Run) -> None:
    """Copy a run's files to the paths of the recordings."""
    for name in ("als.bin", "flowd.jsonl", "otlp.bin", "default.log", "default.jsonl"):
        if (path := run.folder / name).exists():
            _write(LOGS / f"{dialect}.{name}.gz", path.read_bytes())
    lines = [{key: entry[key] for key in TRUTH} for entry in run.truth]
    _write(
        LOGS / f"{dialect}.truth.jsonl.gz", b"".join(json.dumps(x).encode() + b"\n" for x in lines)
    )
    (MANIFESTS / f"{dialect}.objects.yaml").write_bytes(run.manifests[0].read_bytes())
    if (form := run.folder / "format.yaml").exists():
        (LOGS / f"{dialect}.format.yaml").write_bytes(form.read_bytes())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def main() -> None:
    for dialect in DIALECTS:
        with tempfile.TemporaryDirectory() as folder:
            record(dialect, run_dialect(dialect, Path(folder)))


if __name__ == "__main__":
    main()
