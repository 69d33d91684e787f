"""Can this machine capture in the kernel, and if not, why."""

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
from flowd.capture.kernel.filter import Filter
from flowd.model.losses import Losses
from flowd.model.status import State
from flowd_bpf import libbpf
from flowd_bpf.attach.cgroup import find_cgroup2, probe
from flowd_bpf.errors import BpfError
from flowd_bpf.load import bcc, loader
from flowd_bpf.load.drop_types import drop_types
from flowd_bpf.load.socket_types import ATTACHED, RING_BYTES, socket_unit

OLDEST_KERNEL = (5, 14)
BTF = Path("/sys/kernel/btf/vmlinux")
LOCKDOWN = Path("/sys/kernel/security/lockdown")


class Grade(StrEnum):
    """Outcome of a check; only FAIL keeps capture from running."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement, how it is met, and one line of detail."""

    name: str
    grade: Grade
    detail: str


class Capability(IntEnum):
    """Bits of the capability sets (include/uapi/linux/capability.h)."""

    NET_ADMIN = 12
    SYS_ADMIN = 21
    PERFMON = 38
    BPF = 39


def unsupported_reason() -> str | None:
    """One line on why capture in the kernel cannot run here, or None; loads no program."""
    for check in (_kernel, _privileges, _bcc, _ring):
        result = check()
        if result.grade is Grade.FAIL:
            return f"{result.name}: {result.detail}"
    return None


def checks(only: Filter) -> list[Check]:
    """Every requirement in turn; compiles and loads the programs, but attaches nothing.

    Args:
        only: which connections shall be captured.
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


def capabilities() -> set[Capability]:
    """Those of the ones above that this process has in effect."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return {capability for capability in Capability if effective >> capability & 1}


def _privileges() -> Check:
    have = capabilities()
    wanted = {Capability.BPF, Capability.NET_ADMIN, Capability.PERFMON}
    if Capability.SYS_ADMIN in have:  # stands for BPF and PERFMON, capabilities(7)
        wanted = {Capability.NET_ADMIN}
    missing = ", ".join(f"CAP_{capability.name}" for capability in sorted(wanted - have))
    if not missing:
        return Check("privileges", Grade.OK, "root" if os.geteuid() == 0 else "capabilities")
    who = "root without" if os.geteuid() == 0 else "not root, and without"
    return Check("privileges", Grade.FAIL, f"{who} {missing}")


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
            "lockdown", Grade.WARN, "confidentiality: only typed reads work, and they are enough"
        )
    return Check("lockdown", Grade.OK, "off" if "[none]" in mode else "integrity, which is fine")


def _bcc() -> Check:
    try:
        found = bcc.find_bcc()
    except bcc.MissingBcc as error:
        return Check("BCC", Grade.FAIL, f"{error}: {bcc.INSTALL}")
    if stranger := bcc.unrelated_bcc():
        return Check("BCC", Grade.WARN, f"{found}; {stranger} is PyPI's unrelated bcc, and unused")
    return Check("BCC", Grade.OK, str(found))


def _attempt(name: str, call: Callable[[], str]) -> Check:
    try:
        return Check(name, Grade.OK, call())
    except BpfError as error:
        return Check(name, Grade.FAIL, _line(error))


def _programs(only: Filter) -> list[Check]:
    """All compiles, in one child: those of connections with DNS, of drops and of sockets."""
    lacking: BpfError | None = None
    unit, detail = None, ""
    try:
        types = drop_types(TUPLES)
    except BpfError as error:
        lacking = error
    else:
        unit = types.unit
        detail = f"{len(types.reasons)} reasons, addresses from "
    try:
        messages = KernelDns(Losses(), wanted=True)
        sockets = socket_unit(RING_BYTES, loader.ticks_per_second())
        loaded = messages.load(only.defines(), unit, sockets)
    except BpfError as error:
        return [Check("programs", Grade.FAIL, _line(error))]
    lacking = loaded.failed.get("drops", lacking)
    count = len(loaded.programs)
    reads = unit is not None and bool(unit.function) and not loaded.reduced
    loaded.close()
    drops = (
        Check("drops", Grade.WARN, f"not to be had: {_line(lacking)}")
        if lacking
        else Check("drops", Grade.OK, f"{detail}the packets")
        if reads
        else Check("drops", Grade.WARN, f"{detail}sockets alone: packets cannot be read here")
    )
    refused = messages.status()
    dns = (
        Check("DNS", Grade.WARN, f"not to be had: {refused.detail}")
        if refused.state is State.DEGRADED
        else Check("DNS", Grade.OK, "payload of DNS ports can be read")
    )
    return [
        Check("programs", Grade.OK, f"{count} compiled and loaded"),
        Check("connections", Grade.OK, str(only) or "every one is captured"),
        drops,
        _sockets(loaded),
        dns,
    ]


def _sockets(loaded: loader.Loaded) -> Check:
    try:
        if error := loaded.failed.get("sockets"):
            raise error
        path, whole = find_cgroup2()
        for _, attach_type in ATTACHED.values():
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
