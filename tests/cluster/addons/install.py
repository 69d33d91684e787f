"""Bring the objects of every addon to the API server, and wait until what they ask for runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tests.cluster import places
from tests.cluster.addons.kubectl import apply, filled, kubectl
from tests.cluster.errors import ClusterError
from tests.cluster.images import catalogue as images
from tests.cluster.images import store
from tests.cluster.node.namespaces import Node
from tests.cluster.parts import catalogue as parts
from tests.cluster.parts.part import Part
from tests.cluster.say import say

SPANS = "http://otelcol.telemetry.svc.cluster.local:4317"
OWN = places.MANIFESTS


@dataclass(frozen=True, slots=True)
class Addon:
    """Objects that belong together.

    Attributes:
        apply: brings them to the server.
        waits: arguments of `kubectl wait` or `kubectl rollout status`, in order.
        images: references without which it is left out.
    """

    name: str
    apply: Callable[[], None]
    waits: tuple[str, ...]
    images: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


def addons(gateway_api: str) -> tuple[Addon, ...]:
    """All addons, in the order in which they are applied."""
    return (
        Addon(
            "definitions",
            lambda: _definitions(gateway_api),
            (),
            (),
            (parts.GATEWAY_API[gateway_api], parts.ENVOY_GATEWAY_OBJECTS),
        ),
        Addon(
            "coredns",
            _own("coredns"),
            ("rollout status -n kube-system deployment/coredns",),
            (images.COREDNS,),
        ),
        Addon(
            "flowd", _flowd, ("rollout status -n flowd-system daemonset/flowd",), (images.FLOWD,)
        ),
        Addon(
            "envoy-gateway",
            _envoy_gateway,
            ("rollout status -n envoy-gateway-system deployment/envoy-gateway",),
            (parts.IMAGE_OF_ENVOY_GATEWAY, images.ENVOY),
            (parts.ENVOY_GATEWAY_OBJECTS,),
        ),
        Addon(
            "shop",
            _shop,
            (
                "rollout status -n shop deployment/web",
                "rollout status -n shop deployment/cart",
                "wait -n shop pod --all --for=condition=Ready",
                "wait -n shop gateway/shop --for=condition=Programmed",
            ),
            (images.ECHO, images.TOOLS),
        ),
        *(
            Addon(
                name,
                _own(name),
                (f"rollout status -n telemetry deployment/{deployment}",),
                (image,),
            )
            for name, deployment, image in (
                ("prometheus", "prometheus", images.PROMETHEUS),
                ("collector", "otelcol", images.COLLECTOR),
                ("relay", "hubble-relay", images.RELAY),
            )
        ),
    )


def install(gateway_api: str) -> list[Addon]:
    """Apply every addon whose images are there; returns those that were applied."""
    have = store.imported()
    applied: list[Addon] = []
    for addon in addons(gateway_api):
        lacking = [name for name in addon.images if name not in have]
        lacking += [part.name for part in addon.parts if part.missing()]
        if lacking:
            say(f"{addon.name} is left out: there is no {', '.join(lacking)}")
            continue
        try:
            addon.apply()
        except ClusterError as error:
            say(f"{addon.name} cannot be applied: {error}")
        else:
            say(f"{addon.name}: applied")
            applied.append(addon)
    return applied


def await_all(applied: list[Addon], seconds: int) -> list[str]:
    """Wait for what was applied; returns what is not ready, each with the reason."""
    late: list[str] = []
    for addon in applied:
        for words in addon.waits:
            try:
                kubectl(*words.split(), f"--timeout={seconds}s")
            except ClusterError as error:
                late.append(f"{addon.name}: {words}: {error.detail or error}")
        if addon.waits:
            say(
                f"{addon.name}: {'not ready' if late and late[-1].startswith(addon.name) else 'ready'}"
            )
    return late


def _own(name: str) -> Callable[[], None]:
    """Applies a manifest of the bench."""
    return lambda: apply(filled(OWN / f"{name}.yaml"))


def _definitions(gateway_api: str) -> None:
    folders = (parts.GATEWAY_API[gateway_api].folder, parts.ENVOY_GATEWAY_OBJECTS.folder)
    apply("\n---\n".join((folder / "crds.yaml").read_text() for folder in folders))


def _envoy_gateway() -> None:
    apply("{apiVersion: v1, kind: Namespace, metadata: {name: envoy-gateway-system}}")
    apply((parts.ENVOY_GATEWAY_OBJECTS.folder / "install.yaml").read_text())
    kinds = ("envoyproxies.gateway.envoyproxy.io", "gatewayclasses.gateway.networking.k8s.io")
    kubectl(
        "wait", "--for=condition=Established", *(f"crd/{kind}" for kind in kinds), "--timeout=30s"
    )
    apply(filled(OWN / "gateway.yaml"))


def flowd_objects() -> list[dict[str, Any]]:
    """The objects of deploy/flowd.yaml with the image built here; the agents are told where spans go."""
    objects: list[dict[str, Any]] = list(
        yaml.safe_load_all((places.ROOT / "deploy/flowd.yaml").read_text())
    )
    for each in objects:
        if each["kind"] == "DaemonSet":
            container = each["spec"]["template"]["spec"]["containers"][0]
            container["image"] = images.FLOWD
            container["env"].append({"name": "FLOWD_OTLP_ENDPOINT", "value": SPANS})
    return objects


def _flowd() -> None:
    apply(yaml.safe_dump_all(flowd_objects()))


def _shop() -> None:
    apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    kubectl("wait", "-n", "shop", "--for=create", "serviceaccount/default", "--timeout=30s")
    apply(filled(OWN / "shop.yaml"))
    static = filled(OWN / "static.yaml")
    Node(1).run("tee", "/etc/kubernetes/manifests/static.yaml", stdin=static)
