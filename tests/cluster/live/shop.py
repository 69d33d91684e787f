"""Requests to the shop, and what flowd says of them: to relay, Prometheus, the collector and `top`."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.cluster.addons.kubectl import kubectl
from tests.cluster.node.namespaces import Node
from tests.cluster.parts import catalogue as parts

Found = TypeVar("Found")
PATIENCE = 20.0  # seconds until a request is in every place


@dataclass(frozen=True, slots=True)
class Answer:
    """What the echo server said of itself: where a request really went."""

    namespace: str
    pod: str
    service: str


def new_path(prefix: str = "/") -> str:
    """A path that no other request has."""
    return f"{prefix}{uuid.uuid4().hex}"


def gateway() -> str:
    """The address of the shop's Gateway."""
    wanted = "jsonpath={.status.addresses[0].value}"
    return kubectl("get", "gateway", "-n", "shop", "shop", "-o", wanted)


def pod_of(app: str) -> str:
    """The name of a pod by its label."""
    wanted = "jsonpath={.items[0].metadata.name}"
    return kubectl("get", "pod", "-n", "shop", "-l", f"app={app}", "-o", wanted)


def ask(pod: str, path: str, *options: str) -> Answer:
    """Send a request from a pod through the Gateway."""
    url = f"http://{gateway()}{path}"
    words = ["curl", "-sS", "-m", "5", "-H", "Host: shop.example", *options, url]
    said = json.loads(kubectl("exec", "-n", "shop", pod, "--", *words))
    return Answer(said["namespace"], said["pod"], said.get("service", ""))


def hubble(*words: str) -> str:
    """Output of Cilium's hubble command through relay."""
    address = kubectl(
        "get", "service", "-n", "telemetry", "hubble-relay", "-o", "jsonpath={.spec.clusterIP}"
    )
    return Node(1).run(parts.HUBBLE.path("hubble"), *words, "--server", f"{address}:4245")


def flows(*filters: str) -> list[dict[str, Any]]:
    """Flows that relay has, the newest thousand."""
    lines = hubble("observe", "--last", "1000", "-o", "jsonpb", *filters).splitlines()
    return [flow for line in lines if (flow := json.loads(line).get("flow"))]


def requests(path: str) -> list[dict[str, Any]]:
    """Flows of the requests for a path, waited for."""

    def found() -> list[dict[str, Any]]:
        return [
            flow
            for flow in flows("--type", "l7")
            if path in flow.get("l7", {}).get("http", {}).get("url", "")
            and flow["l7"].get("type") == "REQUEST"
        ]

    return patiently(found)


def prometheus(query: str) -> list[dict[str, Any]]:
    """The series that answer a query."""
    server = kubectl(
        "get", "service", "-n", "telemetry", "prometheus", "-o", "jsonpath={.spec.clusterIP}"
    )
    words = [
        "curl",
        "-sSG",
        f"http://{server}:9090/api/v1/query",
        "--data-urlencode",
        f"query={query}",
    ]
    result: list[dict[str, Any]] = json.loads(Node(1).run(*words))["data"]["result"]
    return result


def collector() -> str:
    """What the collector has printed."""
    return kubectl("logs", "-n", "telemetry", "deployment/otelcol", "--tail=20000")


def patiently(find: Callable[[], Found]) -> Found:
    """What `find` gives as soon as it is not empty, or after a while as it is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def settled(read: Callable[[], float]) -> float:
    """A number that grows no more, for longer than Prometheus takes to ask again."""
    before, now = -1.0, read()
    while now != before:
        time.sleep(12)
        before, now = now, read()
    return now
