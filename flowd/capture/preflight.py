"""Checks of `flowd check`: kernel, privileges, BTF, BCC, programs, rings, attachment, NAT."""

import os
import platform
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path

from flowd.capture.dns.source import KernelDns
from flowd.capture.kernel import conntrack
from flowd.capture.kernel.drops import TUPLES
from flowd.capture.kernel.filter import CaptureFilter
from flowd.model.losses import Losses
from flowd.model.status import State
from flowd_bpf import libbpf
from flowd_bpf.attach.cgroup import find_cgroup2, probe
from flowd_bpf.errors import BpfError
from flowd_bpf.load import bcc, loader
from flowd_bpf.load.drop_types import drop_types
from flowd_bpf.load.socket_types import CGROUP_PROGRAMS, RING_BYTES, socket_unit

OLDEST_KERNEL = (5, 14)
BTF = Path("/sys/kernel/btf/vmlinux")
LOCKDOWN = Path("/sys/kernel/security/lockdown")


class Grade(StrEnum):
    """Result of a check; only FAIL prevents capture."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement, its result, and one line of detail."""

    name: str
    grade: Grade
    detail: str


class CaptureCapability(IntEnum):
    """Capabilities that matter to capture, as bit numbers (include/uapi/linux/capability.h)."""

    NET_ADMIN = 12
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39


def unsupported_reason() -> str | None:
    """One line on why capture cannot run on this machine, or None; loads no program."""
    for check in (_kernel, _privileges, _bcc, _ring):
        result = check()
        if result.grade is Grade.FAIL:
            return f"{result.name}: {result.detail}"
    return None


def checks(only: CaptureFilter) -> list[Check]:
    """Check every requirement; compiles and loads the programs, but attaches nothing.

    Args:
        only: selects the connections to capture.
    """
    return [
        *(check() for check in (_kernel, _privileges, _btf, _lockdown, _bcc)),
        *_programs(only),
        *(check() for check in (_ring, _attachment, _nat)),
    ]


def _kernel() -> Check:
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    fits = bool(match) and (int(match[1]), int(match[2])) >= OLDEST_KERNEL
    oldest = ".".join(map(str, OLDEST_KERNEL))
    detail = f"Linux {release}" if fits else f"Linux {release} is older than {oldest}"
    return Check("kernel version", Grade.OK if fits else Grade.FAIL, detail)


def capabilities() -> set[CaptureCapability]:
    """The members of CaptureCapability in this process's effective set, capabilities(7)."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return {capability for capability in CaptureCapability if effective >> capability & 1}


def _privileges() -> Check:
    held = capabilities()
    wanted = {CaptureCapability.BPF, CaptureCapability.NET_ADMIN, CaptureCapability.PERFMON}
    if CaptureCapability.SYS_ADMIN in held:  # includes BPF and PERFMON, capabilities(7)
        wanted = {CaptureCapability.NET_ADMIN}
    missing = ", ".join(f"CAP_{capability.name}" for capability in sorted(wanted - held))
    if not missing:
        return Check("privileges", Grade.OK, "root" if os.geteuid() == 0 else "capabilities")
    user = "root without" if os.geteuid() == 0 else "not root, and without"
    return Check("privileges", Grade.FAIL, f"{user} {missing}")


def _btf() -> Check:
    if BTF.exists():
        return Check("BTF", Grade.OK, f"{BTF}, for packet drops with their reason")
    return Check("BTF", Grade.WARN, f"no {BTF}: connections work, drops with a reason will not")


def _lockdown() -> Check:
    try:
        mode = LOCKDOWN.read_text()
    except OSError:
        return Check("lockdown", Grade.OK, "not told by this kernel; nothing here needs it off")
    if "[confidentiality]" in mode:
        return Check(
            "lockdown",
            Grade.WARN,
            "confidentiality: only typed reads work, and they are enough",
        )
    return Check("lockdown", Grade.OK, "off" if "[none]" in mode else "integrity, which is fine")


def _bcc() -> Check:
    try:
        found = bcc.find_bcc()
    except bcc.MissingBcc as error:
        return Check("BCC", Grade.FAIL, f"{error}: {bcc.INSTALL}")
    if unrelated := bcc.unrelated_bcc():
        return Check("BCC", Grade.WARN, f"{found}; {unrelated} is PyPI's unrelated bcc, and unused")
    return Check("BCC", Grade.OK, str(found))


def _attempt(name: str, call: Callable[[], str]) -> Check:
    try:
        return Check(name, Grade.OK, call())
    except BpfError as error:
        return Check(name, Grade.FAIL, _line(error))


def _programs(only: CaptureFilter) -> list[Check]:
    """Compile all programs in one child process: connections with DNS, drops, and sockets."""
    drops_error: BpfError | None = None
    unit, detail = None, ""
    try:
        types = drop_types(TUPLES)
    except BpfError as error:
        drops_error = error
    else:
        unit = types.unit
        detail = f"{len(types.reasons)} reasons, addresses from "
    try:
        dns_part = KernelDns(Losses(), wanted=True)
        sockets = socket_unit(RING_BYTES, loader.ticks_per_second())
        loaded = dns_part.load(only.defines(), unit, sockets)
    except BpfError as error:
        return [Check("programs", Grade.FAIL, _line(error))]
    drops_error = loaded.failed.get("drops", drops_error)
    count = len(loaded.programs)
    reads_packets = unit is not None and bool(unit.function) and not loaded.reduced
    loaded.close()
    drops = (
        Check("drops", Grade.WARN, f"not to be had: {_line(drops_error)}")
        if drops_error
        else Check("drops", Grade.OK, f"{detail}the packets")
        if reads_packets
        else Check("drops", Grade.WARN, f"{detail}sockets alone: packets cannot be read here")
    )
    dns_status = dns_part.status()
    dns = (
        Check("DNS", Grade.WARN, f"not to be had: {dns_status.detail}")
        if dns_status.state is State.DEGRADED
        else Check("DNS", Grade.OK, "payload of DNS ports can be read")
    )
    return [
        Check("programs", Grade.OK, f"{count} compiled and loaded"),
        Check("connections", Grade.OK, str(only) or "every one is captured"),
        drops,
        _sockets(loaded),
        dns,
    ]


def _sockets(loaded: loader.LoadedPrograms) -> Check:
    try:
        if error := loaded.failed.get("sockets"):
            raise error
        path, whole = find_cgroup2()
        for _, attach_type in CGROUP_PROGRAMS.values():
            probe(path, attach_type)
    except BpfError as error:
        return Check("sockets", Grade.WARN, f"not to be had: {_line(error)}")
    if loaded.refused:
        refused = "; ".join(f"{name}: {why}" for name, why in loaded.refused.items())
        return Check("sockets", Grade.WARN, f"in part: {refused}")
    if not whole:
        return Check("sockets", Grade.WARN, "only this container's: mount the node's cgroup2")
    return Check("sockets", Grade.OK, f"of every cgroup below {path}")


def _line(error: BpfError) -> str:
    return f"{error}: {error.hint}" if error.hint else str(error)


def _ring() -> Check:
    def make() -> str:
        libbpf.probe_ring()
        return "BPF ring buffer"

    return _attempt("ring buffer", make)


def _attachment() -> Check:
    return _attempt(
        "attachment", lambda: "tcx" if libbpf.has_tcx() else "clsact, as tcx needs Linux 6.6"
    )


def _nat() -> Check:
    state, detail = conntrack.probe()
    return Check("nat", Grade.OK if state is State.ON else Grade.WARN, detail)
