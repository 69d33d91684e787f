"""Defines and program types of sockets.c, from the running kernel's BTF where it has any."""

from flowd_bpf.attach import cgroup
from flowd_bpf.errors import BpfError
from flowd_bpf.load.btf import KIND_TYPEDEF, KernelTypes
from flowd_bpf.load.compile import RAW_TP, TRACING
from flowd_bpf.load.loader import SocketUnit

RING_BYTES = 2 << 20
DETAIL_RECORDS = 1000
CGROUP_SOCK, SOCK_OPS, CGROUP_SOCK_ADDR = 9, 13, 18  # enum bpf_prog_type

CGROUP_PROGRAMS = {
    "flowd_connect4": (CGROUP_SOCK_ADDR, cgroup.CONNECT4),
    "flowd_connect6": (CGROUP_SOCK_ADDR, cgroup.CONNECT6),
    "flowd_bind4": (CGROUP_SOCK, cgroup.POST_BIND4),
    "flowd_bind6": (CGROUP_SOCK, cgroup.POST_BIND6),
    "flowd_sock_ops": (SOCK_OPS, cgroup.SOCK_OPS),
}
"""Program type and attach type of the cgroup programs, in attach order: sock_ops last."""

TRACEPOINTS = {
    "flowd_sock_state": "inet_sock_set_state",
    "flowd_reset_out": "tcp_send_reset",
    "flowd_reset_in": "tcp_receive_reset",
}


def socket_unit(
    ring_bytes: int, active_ticks: int, detail_records: int = DETAIL_RECORDS
) -> SocketUnit:
    """Compilation unit of sockets.c; without kernel BTF it has no tracepoint programs.

    Args:
        ring_bytes: size of the ring, a power of two.
        active_ticks: jiffies between records of an active socket.
        detail_records: ESTABLISHED records a second on each CPU.
    """
    programs = {name: (kind, attach, 0) for name, (kind, attach) in CGROUP_PROGRAMS.items()}
    defines = {
        "SOCKET_RING_BYTES": ring_bytes,
        "ACTIVE_TICKS": active_ticks,
        "DETAIL_RECORDS": detail_records,
        "OFF_SOCK_SK_ERR": 0,
    }
    try:
        with KernelTypes() as types:
            defines["OFF_SOCK_SK_ERR"] = types.offset("sock", "sk_err")
            for name, tracepoint in TRACEPOINTS.items():
                attach = types.find(f"btf_trace_{tracepoint}", KIND_TYPEDEF)
                if attach:
                    programs[name] = TRACING, RAW_TP, attach
    except BpfError:
        pass
    return SocketUnit(defines, programs)
