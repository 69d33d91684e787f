"""Defines of drops.c from the running kernel's BTF, and the names of its drop reasons.

Source: include/net/dropreason-core.h of the kernel (enum skb_drop_reason).
"""

import os
from dataclasses import dataclass

from flowd_bpf.errors import BpfError
from flowd_bpf.load.btf import KIND_FUNC, KIND_STRUCT, KIND_TYPEDEF, KernelTypes
from flowd_bpf.load.compile import KFUNC_CALL
from flowd_bpf.load.loader import DropUnit

_FIELDS = (
    ("sk_buff", "head"),
    ("sk_buff", "tail"),
    ("sk_buff", "network_header"),
    ("sk_buff", "sk"),
    ("sk_buff", "skb_iif"),
    ("sk_buff", "protocol"),
    ("sk_buff", "dev"),
    ("sk_buff", "len"),
    ("net_device", "ifindex"),
    ("net_device", "nd_net.net"),
    ("net", "ns.inum"),
    ("sock_common", "skc_family"),
    ("sock_common", "skc_num"),
    ("sock_common", "skc_dport"),
    ("sock_common", "skc_daddr"),
    ("sock_common", "skc_rcv_saddr"),
    ("sock_common", "skc_v6_daddr"),
    ("sock_common", "skc_v6_rcv_saddr"),
)
_PREFIX = "SKB_DROP_REASON_"
_NOT_REASONS = (f"{_PREFIX}MAX", f"{_PREFIX}SUBSYS_MASK")


@dataclass(frozen=True, slots=True)
class DropTypes:
    """The kernel's types as the drops program needs them.

    Attributes:
        unit: compilation unit for the loader.
        reasons: drop reason names by number, without the prefix SKB_DROP_REASON_.
        packets: whether a dropped packet's headers are readable, and not only its socket.
    """

    unit: DropUnit
    reasons: dict[int, str]
    packets: bool


def drop_types(size: int) -> DropTypes:
    """Read the kernel's types for drops with a reason (Linux 5.17).

    Args:
        size: entries of the map flowd_drops.

    Raises:
        BpfError: the kernel gives no drop reasons, or lacks a field.
    """
    with KernelTypes() as types:
        names = types.constants("skb_drop_reason")
        # Parameters: context, packet, location, reason
        if not names or types.parameters("btf_trace_kfree_skb") < 4:
            raise BpfError("this kernel gives no reason for a drop", "needs Linux 5.17")
        defines = {_define(*field): types.offset(*field) for field in _FIELDS}
        cast = types.find("bpf_rdonly_cast", KIND_FUNC)
        if cast:
            defines |= {"KFUNC_CAST": 1, "KFUNC_CALL": KFUNC_CALL}
            for name in ("iphdr", "ipv6hdr", "tcphdr", "udphdr"):
                defines[f"TYPE_{name.upper()}"] = types.find(name, KIND_STRUCT)
        attach = types.find("btf_trace_kfree_skb", KIND_TYPEDEF)
    kept = {
        number: name.removeprefix(_PREFIX)
        for number, name in names.items()
        # SKB_NOT_DROPPED_YET and SKB_CONSUMED are not drops
        if name.startswith(_PREFIX) and name not in _NOT_REASONS
    }
    defines["FIRST_REASON"] = min(kept)
    defines["QUEUE_PURGE"] = next((n for n, name in kept.items() if name == "QUEUE_PURGE"), 0)
    defines["MAX_DROPS"] = size
    defines["NAMESPACE"] = os.stat("/proc/thread-self/ns/net").st_ino
    return DropTypes(DropUnit(defines, attach, cast), kept, bool(cast))


def _define(struct: str, path: str) -> str:
    return f"OFF_{struct}_{path.replace('.', '_')}".upper()
