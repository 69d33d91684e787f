"""The two sides of a comparison: ingress-nginx or Gateway API objects, each as a function of a request."""

from typing import Protocol

from flowd.gateway.matching.dialect import DIALECTS
from flowd.kubernetes.objects.snapshot import Objects
from flowd.parity.gateway import Gateways
from flowd.parity.nginx.annotations import ControllerSettings
from flowd.parity.nginx.evaluate import evaluate
from flowd.parity.nginx.evidence import apply_evidence
from flowd.parity.nginx.locate import location_of
from flowd.parity.nginx.servers import Configuration, build
from flowd.parity.outcome import Outcome, ParityRequest, Ready

NGINX = "ingress-nginx"
GATEWAY_DIALECTS = ("eg", "istio", "cilium", "contour", "kgateway")
"""Dialects that are tried where the implementation is not known."""

_CONTROLLERS = {
    "gateway.envoyproxy.io/gatewayclass-controller": "eg",
    "istio.io/gateway-controller": "istio",
    "io.cilium/gateway-controller": "cilium",
    "projectcontour.io/gateway-controller": "contour",
    "kgateway.dev/kgateway": "kgateway",
}
"""Dialect by GatewayClass spec.controllerName."""


class Side(Protocol):
    """Simulates one side."""

    def evaluate(self, request: ParityRequest) -> Outcome: ...


class NginxSide:
    """ingress-nginx with the Ingresses of a snapshot; log evidence corrects the simulation."""

    def __init__(self, objects: Objects, settings: ControllerSettings, ready: Ready) -> None:
        self.configuration: Configuration = build(objects, settings)
        self._ready = ready

    def evaluate(self, request: ParityRequest) -> Outcome:
        """The outcome, corrected by what the access log says of the request."""
        outcome = evaluate(self.configuration, request, self._ready)
        if request.seen and not self.configuration.refused:
            apply_evidence(outcome, request.seen, location_of(self.configuration, request))
        return outcome


def dialects_of(objects: Objects, wanted: str) -> tuple[str, ...]:
    """Dialects to evaluate Gateway API objects with: the wanted one, the class's, or all of them."""
    if wanted != "auto":
        return (wanted,)
    classes = {gateway.spec.gateway_class_name for gateway in objects.gateways.values()}
    known = {
        _CONTROLLERS.get(found.spec.controller_name, "")
        for name in classes
        if (found := objects.gateway_classes.get(("", name)))
    }
    if len(known) == 1 and (only := known.pop()) in DIALECTS:
        return (only,)
    return GATEWAY_DIALECTS


def readiness(objects: Objects) -> Ready:
    """Readiness of backends by the EndpointSlices of a snapshot; None where it has none at all."""
    if not objects.slices:
        return lambda _backend: None
    ready = {
        (namespace, slice_.service)
        for (namespace, _), slice_ in objects.slices.items()
        if any(endpoint.conditions.ready is not False for endpoint in slice_.endpoints)
    }

    def of(backend: str) -> bool | None:
        namespace, _, service = backend.partition("/")
        return (namespace, service.partition(":")[0]) in ready

    return of


def gateway_sides(objects: Objects, wanted: str, ready: Ready) -> dict[str, Gateways]:
    """A side for each dialect that applies."""
    return {name: Gateways(objects, name, ready) for name in dialects_of(objects, wanted)}
