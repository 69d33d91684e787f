"""An OpenTelemetry collector with just the receiver, connector and exporters that the cluster uses."""

import shutil

from tests.cluster import places, versions
from tests.cluster.commands import GENTLE, run
from tests.cluster.parts import golang
from tests.cluster.parts.part import Part
from tests.cluster.say import say

CORE = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"
MODULES = {
    f"{CORE}/otelcol": versions.COLLECTOR,
    f"{CORE}/receiver/otlpreceiver": versions.COLLECTOR,
    f"{CORE}/exporter/debugexporter": versions.COLLECTOR,
    f"{CONTRIB}/exporter/prometheusexporter": versions.COLLECTOR_CONTRIB,
    f"{CONTRIB}/connector/spanmetricsconnector": versions.COLLECTOR_CONTRIB,
}


def make(part: Part) -> None:
    """Build the collector from its main of a few lines beside the manifests."""
    module = golang.begin(part)
    shutil.copy(places.MANIFESTS / "collector" / "main.go", module / "main.go")
    say(f"{part.name} {part.version}: fetching modules")
    wanted = [f"{name}@{version}" for name, version in MODULES.items()]
    run([*GENTLE, golang.go(), "get", *wanted], cwd=module, env=golang.ENVIRONMENT, log=part.log)
    run([*GENTLE, golang.go(), "mod", "tidy"], cwd=module, env=golang.ENVIRONMENT, log=part.log)
    golang.compile_program(part, module, ".", "bin/otelcol")
