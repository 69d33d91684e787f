"""Rules that translate a Service's addresses to its two pods: nftables, iptables, IPVS."""

import shutil
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.kernel.net import run

SERVICE_PORT, NODE_PORT = 80, 30080
SERVICE = {socket.AF_INET: "10.96.0.1", socket.AF_INET6: "fd00:96::1"}
LOAD_BALANCER = {socket.AF_INET: "203.0.113.10", socket.AF_INET6: "2001:db8:10::1"}

Makes = Callable[[str, socket.AddressFamily, str, tuple[str, str]], None]
"""Adds the rules of a family in a namespace, for the node's address and those of both pods."""

NFTABLES = """
table {family} nat {{
  chain pre {{
    type nat hook prerouting priority -100
    {family} daddr {service} meta l4proto {{ tcp, udp }} th dport 80 goto backends
    {family} daddr {service} meta l4proto {icmp} dnat to {one}
    {family} daddr {balancer} tcp dport 80 meta mark set 1 goto backends
    {family} daddr {node} tcp dport 30080 meta mark set 1 goto backends
  }}
  chain backends {{
    meta l4proto {{ tcp, udp }} dnat to numgen inc mod 2 map {{ 0 : {one} . 8080, 1 : {two} . 8080 }}
  }}
  chain post {{
    type nat hook postrouting priority 100
    {family} daddr {two} masquerade
    meta mark 1 masquerade
  }}
}}
"""

IPTABLES = """*nat
:BACKENDS - [0:0]
-A PREROUTING -d {service} -p tcp -m tcp --dport 80 -j BACKENDS
-A PREROUTING -d {service} -p udp -m udp --dport 80 -j BACKENDS
-A PREROUTING -d {balancer} -p tcp -m tcp --dport 80 -j MARK --set-mark 1
-A PREROUTING -d {balancer} -p tcp -m tcp --dport 80 -j BACKENDS
-A PREROUTING -d {node} -p tcp -m tcp --dport 30080 -j MARK --set-mark 1
-A PREROUTING -d {node} -p tcp -m tcp --dport 30080 -j BACKENDS
-A BACKENDS -p tcp -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination {one}:8080
-A BACKENDS -p tcp -j DNAT --to-destination {two}:8080
-A BACKENDS -p udp -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination {one}:8080
-A BACKENDS -p udp -j DNAT --to-destination {two}:8080
-A POSTROUTING -d {plain_two} -j MASQUERADE
-A POSTROUTING -m mark --mark 1 -j MASQUERADE
COMMIT
"""

MASQUERADE = """
table {family} nat {{
  chain post {{
    type nat hook postrouting priority 100
    {family} daddr {{ {one}, {two} }} tcp dport 8080 ct original proto-dst 30080 masquerade
    {family} daddr {{ {one}, {two} }} ct original {family} daddr {balancer} masquerade
    {family} daddr {two} masquerade
  }}
}}
"""


def nftables(
    namespace: str, family: socket.AddressFamily, node: str, pods: tuple[str, str]
) -> None:
    """As kube-proxy's mode nftables."""
    _nft(namespace, NFTABLES, family, node, pods)


def iptables_nft(
    namespace: str, family: socket.AddressFamily, node: str, pods: tuple[str, str]
) -> None:
    """As kube-proxy's mode iptables, by iptables-nft."""
    _iptables("nft", namespace, family, node, pods)


def iptables_legacy(
    namespace: str, family: socket.AddressFamily, node: str, pods: tuple[str, str]
) -> None:
    """As kube-proxy's mode iptables, by iptables-legacy and the kernel's ip_tables."""
    _iptables("legacy", namespace, family, node, pods)


def ipvs(namespace: str, family: socket.AddressFamily, node: str, pods: tuple[str, str]) -> None:
    """As kube-proxy's mode ipvs, with the Service's addresses on a dummy device."""
    inside = ("ip", "netns", "exec", namespace)
    if not shutil.which("ipvsadm"):
        pytest.skip("ipvsadm is not installed")
    if subprocess.run([*inside, "ipvsadm", "-Ln"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel has no IPVS")
    bits = "32" if family == socket.AF_INET else "128"
    show = ("ip", "-n", namespace, "link", "show", "kube-ipvs0")
    if subprocess.run(show, capture_output=True, check=False).returncode:
        run("ip", "-n", namespace, "link", "add", "kube-ipvs0", "type", "dummy")
        run(*inside, "sysctl", "-qw", "net.ipv4.vs.conntrack=1")
    for address in (SERVICE[family], LOAD_BALANCER[family]):
        flags = ("nodad",) if family == socket.AF_INET6 else ()
        words = ("address", "add", f"{address}/{bits}", "dev", "kube-ipvs0", *flags)
        run("ip", "-n", namespace, *words)
    for kind, address, port in (
        ("-t", SERVICE[family], SERVICE_PORT),
        ("-u", SERVICE[family], SERVICE_PORT),
        ("-t", LOAD_BALANCER[family], SERVICE_PORT),
        ("-t", node, NODE_PORT),
    ):
        service = f"{_bracketed(address, family)}:{port}"
        run(*inside, "ipvsadm", "-A", kind, service, "-s", "rr")
        for pod in pods:
            real = f"{_bracketed(pod, family)}:8080"
            run(*inside, "ipvsadm", "-a", kind, service, "-r", real, "-m")
    _nft(namespace, MASQUERADE, family, node, pods)


def _nft(
    namespace: str, rules: str, family: socket.AddressFamily, node: str, pods: tuple[str, str]
) -> None:
    text = rules.format(
        family="ip" if family == socket.AF_INET else "ip6",
        icmp="icmp" if family == socket.AF_INET else "icmpv6",
        service=SERVICE[family],
        balancer=LOAD_BALANCER[family],
        node=node,
        one=pods[0],
        two=pods[1],
    )
    run("ip", "netns", "exec", namespace, "nft", "-f", "-", stdin=text)


def _iptables(
    flavour: str, namespace: str, family: socket.AddressFamily, node: str, pods: tuple[str, str]
) -> None:
    program = f"{'iptables' if family == socket.AF_INET else 'ip6tables'}-{flavour}"
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    inside = ("ip", "netns", "exec", namespace)
    look = [*inside, program, "-t", "nat", "-S"]
    if subprocess.run(look, capture_output=True, check=False).returncode:
        pytest.skip(f"this kernel has no nat table of {program}")
    text = IPTABLES.format(
        service=SERVICE[family],
        balancer=LOAD_BALANCER[family],
        node=node,
        one=_bracketed(pods[0], family),
        two=_bracketed(pods[1], family),
        plain_two=pods[1],
    )
    run(*inside, f"{program}-restore", stdin=text)


def _bracketed(address: str, family: socket.AddressFamily) -> str:
    return address if family == socket.AF_INET else f"[{address}]"
