"""Pods of the demo, with their namespaces, names and addresses."""

import hashlib
import platform
from dataclasses import dataclass
from functools import cached_property

HTTP_PORT = 3000  # container port of every HTTP backend
TLS_PORT = 8443
ADMIN_PORT = 19000  # Envoy's admin interface
ALS_PORT = 9001
GATEWAY_NAMESPACE, GATEWAY_NAME = "infra", "echo"
CONTROLLER_NAMESPACE = "envoy-gateway-system"
INSTANCES = 10  # one digit, so that interface names stay within 15 characters


@dataclass(frozen=True, slots=True)
class DemoPod:
    """One pod of the demo.

    Attributes:
        short: suffix of the names of its network namespace and host-side veth.
        host: last byte of its addresses.
        namespace, name: as in Kubernetes.
        app: value of its `app` label, which Services select.
        owner_kind, owner: the controller that owns it; "" for a bare pod.
        template_hash: pod-template-hash of a Deployment's pod, or "".
        role: gateway, echo (HTTP backend), tls (backend with its own certificate), dead (no
            listening socket), or client.
    """

    short: str
    host: int
    namespace: str
    name: str
    app: str
    owner_kind: str
    owner: str
    template_hash: str
    role: str

    @property
    def port(self) -> int:
        """The container port of a backend."""
        return TLS_PORT if self.role == "tls" else HTTP_PORT


def _deployed(short: str, host: int, namespace: str, app: str, role: str = "echo") -> DemoPod:
    """A pod of Deployment `app`, named as in Kubernetes: <app>-<template hash>-<suffix>."""
    template, suffix = _digest(namespace, app)[:9], _digest(namespace, short)[-5:]
    name = f"{app}-{template}-{suffix}"
    return DemoPod(
        short, host, namespace, name, app, "ReplicaSet", f"{app}-{template}", template, role
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def envoy_name() -> str:
    """Envoy Gateway's name of the Deployment and Service of the Gateway's proxy."""
    gateway = _digest(GATEWAY_NAMESPACE, GATEWAY_NAME)[:8]
    return f"envoy-{GATEWAY_NAMESPACE}-{GATEWAY_NAME}-{gateway}"


PODS = (
    _deployed("gateway", 2, CONTROLLER_NAMESPACE, envoy_name(), "gateway"),
    _deployed("echo-1", 11, "default", "echo-1"),
    _deployed("echo-1b", 12, "default", "echo-1"),
    _deployed("echo-2", 13, "default", "echo-2"),
    _deployed("slow", 14, "default", "slow"),
    _deployed("flaky", 15, "default", "flaky"),
    _deployed("down", 16, "default", "down", "dead"),
    _deployed("tls", 17, "default", "tls-echo", "tls"),
    _deployed("orders", 18, "team-b", "orders"),
    _deployed("client-1", 21, "default", "shop", "client"),
    DemoPod(
        "client-2", 22, "team-b", "crawler-0", "crawler", "StatefulSet", "crawler", "", "client"
    ),
    DemoPod("client-3", 23, "default", "curl", "curl", "", "", "", "client"),
)


@dataclass(frozen=True)
class Topology:
    """Addresses of one demo.

    Attributes:
        instance: number of the demo on this machine, from 0; part of every address and name.
        loopback: no network namespaces; every pod is an address in 127.0.0.0/8 of the host.
    """

    instance: int = 0
    loopback: bool = False

    @cached_property
    def gateway(self) -> DemoPod:
        return next(pod for pod in PODS if pod.role == "gateway")

    @cached_property
    def clients(self) -> tuple[DemoPod, ...]:
        return tuple(pod for pod in PODS if pod.role == "client")

    @cached_property
    def backends(self) -> tuple[DemoPod, ...]:
        """Pods with a listening socket."""
        return tuple(pod for pod in PODS if pod.role in ("echo", "tls"))

    @property
    def node(self) -> str:
        """Name of the node: the machine's host name."""
        return platform.node().lower() or "localhost"

    @property
    def bridge(self) -> str:
        return f"flowd{self.instance}"

    @property
    def host_address(self) -> str:
        """The host's own address on the demo's network."""
        return self._address4(1)

    @property
    def host_address6(self) -> str:
        return self._address6(1)

    def address(self, pod: DemoPod) -> str:
        return self._address4(pod.host)

    def addresses(self, pod: DemoPod) -> tuple[str, ...]:
        """IPv4 address, then the IPv6 address if there is one."""
        if self.loopback:
            return (self._address4(pod.host),)
        return self._address4(pod.host), self._address6(pod.host)

    def netns(self, pod: DemoPod) -> str:
        prefix = "flowd" if self.instance == 0 else f"flowd{self.instance}"
        return f"{prefix}-{pod.short}"

    def link(self, pod: DemoPod) -> str:
        """Name of the host's end of the pod's veth; at most 15 characters."""
        return f"{self.bridge}-{pod.short}"

    def uses_ipv6(self, pod: DemoPod) -> bool:
        """Whether traffic to or from this pod is IPv6, as for one client and one backend."""
        return not self.loopback and pod.short in ("client-3", "orders")

    def _address4(self, host: int) -> str:
        if self.loopback:
            return f"127.0.{77 + self.instance}.{host}"
        return f"10.77.{self.instance}.{host}"

    def _address6(self, host: int) -> str:
        return f"fd77:0:0:{self.instance:x}::{host:x}"
