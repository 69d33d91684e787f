"""The Kubernetes objects of Gateway API and Envoy Gateway, taken from their modules and its chart."""

import json
import shutil
import sys

from tests.cluster.commands import run
from tests.cluster.parts import golang
from tests.cluster.parts.part import Part
from tests.cluster.say import say

GATEWAY_API = "sigs.k8s.io/gateway-api"
ENVOY_GATEWAY = "github.com/envoyproxy/gateway"
NAMESPACE = "envoy-gateway-system"
RENDER = """
import json, sys
from helm_python import Chart
chart, values, namespace = sys.argv[1:]
with Chart.load(chart) as loaded:
    json.dump(loaded.render(values=json.loads(values), name="eg", namespace=namespace), sys.stdout)
"""


def make_gateway_api(part: Part) -> None:
    """Put the definitions of the experimental channel together, without the guard against other channels."""
    say(f"{part.name} {part.version}: fetching its definitions")
    source = golang.module_folder(GATEWAY_API, part.version) / "config/crd/experimental"
    files = [
        path
        for path in sorted(source.glob("gateway.networking.*.yaml"))
        if "_vap_" not in path.name
    ]
    (part.folder / "crds.yaml").write_text("\n---\n".join(path.read_text() for path in files))


def make_envoy_gateway(helm: Part, image: str) -> "EnvoyGatewayObjects":
    """A maker of Envoy Gateway's objects with an image of ours."""
    return EnvoyGatewayObjects(helm, image)


class EnvoyGatewayObjects:
    """Renders Envoy Gateway's chart with Helm; its definitions come from the chart's folder."""

    def __init__(self, helm: Part, image: str) -> None:
        self._helm = helm
        self._image = image

    def __call__(self, part: Part) -> None:
        say(f"{part.name} {part.version}: rendering the chart")
        charts = golang.module_folder(ENVOY_GATEWAY, part.version) / "charts"
        own = sorted((charts / "gateway-helm/charts/crds/crds/generated").glob("*.yaml"))
        (part.folder / "crds.yaml").write_text("\n---\n".join(path.read_text() for path in own))
        chart = part.folder / "chart"
        shutil.rmtree(chart, ignore_errors=True)
        shutil.copytree(charts / "gateway-helm", chart, copy_function=shutil.copyfile)
        run(["chmod", "-R", "u+w", chart])
        text = (chart / "values.tmpl.yaml").read_text()
        text = text.replace("${GatewayImage}", self._image).replace(
            "${GatewayImagePullPolicy}", "IfNotPresent"
        )
        (chart / "values.yaml").write_text(text)
        (part.folder / "install.yaml").write_text(self._render(part))
        shutil.rmtree(chart)

    def _render(self, part: Part) -> str:
        """All objects of the chart as one text."""
        small = {"requests": {"cpu": "10m", "memory": "64Mi"}}
        values = {"crds": {"enabled": False}, "deployment": {"envoyGateway": {"resources": small}}}
        command = [
            sys.executable,
            "-c",
            RENDER,
            part.folder / "chart",
            json.dumps(values),
            NAMESPACE,
        ]
        rendered = json.loads(run(command, env={"PYTHONPATH": str(self._helm.folder)}))
        texts = [
            text
            for name, text in sorted(rendered.items())
            if name.endswith(".yaml") and text.strip()
        ]
        return "\n---\n".join(texts)
