"""Load the BPF programs: start the compiler child, receive program and map descriptors from it.

LLVM's 100 MB stay in the child (load/compile.py), which exits when it has answered.
"""

import errno
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowd_bpf.errors import PRIVILEGES, BpfError
from flowd_bpf.load.bcc import INSTALL, MissingBcc, find_bcc

TIMEOUT_SECONDS = 300.0  # emulated machines take minutes

_FOLDER = Path(__file__).resolve().parent
_PACKAGE = _FOLDER.parent
_MESSAGE = 1 << 16
_CLOCK_MONOTONIC_COARSE = 6
_VERIFIER_TAIL = re.compile(r"processed \d+ insns|^\s*$|HINT|^\d+: \(|^; ")


@dataclass(slots=True)
class LoadedPrograms:
    """File descriptors of the loaded programs and maps; the kernel frees both when they are closed.

    Attributes:
        programs, maps: descriptors by name.
        failed: errors of the parts "drops" and "sockets" that did not load.
        reduced: the drops program loaded only without the kernel function bpf_rdonly_cast.
        refused: reasons by name of tracepoint programs of sockets.c that the kernel refused.
    """

    programs: dict[str, int] = field(default_factory=dict[str, int])
    maps: dict[str, int] = field(default_factory=dict[str, int])
    failed: dict[str, BpfError] = field(default_factory=dict[str, BpfError])
    reduced: bool = False
    refused: dict[str, str] = field(default_factory=dict[str, str])

    def close(self) -> None:
        """Close all descriptors."""
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)
        self.programs.clear()
        self.maps.clear()


def ticks_per_second() -> int:
    """Jiffies a second (CONFIG_HZ), from the resolution of CLOCK_MONOTONIC_COARSE, one jiffy."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


def folder(name: str) -> Path:
    """Path of `src` or `headers`: inside the package when installed, beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


@dataclass(frozen=True, slots=True)
class DropUnit:
    """Compilation unit of drops.c.

    Attributes:
        defines: preprocessor defines.
        attach: BTF id of the tracepoint's type.
        function: BTF id of the kernel function bpf_rdonly_cast, 0 when the kernel has none.
    """

    defines: Mapping[str, int]
    attach: int
    function: int


@dataclass(frozen=True, slots=True)
class SocketUnit:
    """Compilation unit of sockets.c.

    Attributes:
        defines: preprocessor defines.
        programs: program type, expected attach type, and BTF id of the tracepoint's type (0 for
            none), by program name.
    """

    defines: Mapping[str, int]
    programs: Mapping[str, tuple[int, int, int]]


def load(
    settings: Mapping[str, int] | None = None,
    drops: DropUnit | None = None,
    sockets: SocketUnit | None = None,
) -> LoadedPrograms:
    """Compile and load the programs in a short-lived child.

    Blocks while LLVM compiles, under a second on most machines.

    Args:
        settings: defines that override the defaults of config.h.
        drops, sockets: optional parts; their failure is in `LoadedPrograms.failed`.

    Raises:
        BpfError: BCC is missing, flow.c does not compile, or the kernel refused it.
    """
    try:
        bcc = find_bcc()
    except MissingBcc as error:
        raise BpfError(str(error), INSTALL) from None
    units = _units(settings or {}, drops, sockets)
    # SEQPACKET keeps message boundaries, so each recv returns exactly one answer.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.memfd_create("flowd-compile")
    with ours, theirs:
        try:
            child = _start_compiler(bcc, units, theirs.fileno(), log)
            try:
                theirs.close()
                loaded = _receive(ours, log)
                if drops:
                    _add_part(loaded, "drops", ours, log)
                if sockets:
                    _add_part(loaded, "sockets", ours, log)
                return loaded
            finally:
                child.kill()
                child.wait()
        finally:
            os.close(log)


def _units(
    settings: Mapping[str, int], drops: DropUnit | None, sockets: SocketUnit | None
) -> list[dict[str, object]]:
    """Compilation units in the form that compile.py reads."""
    page, ticks = os.sysconf("SC_PAGE_SIZE"), ticks_per_second()
    defines = {"PAGE_SIZE": page, "TICKS": ticks, **settings}
    units: list[dict[str, object]] = [{"source": "flow.c", "defines": defines}]
    if drops:
        units.append(
            {
                "source": "drops.c",
                "defines": {"PAGE_SIZE": page, **drops.defines},
                "attach": drops.attach,
                "function": drops.function,
            }
        )
    if sockets:
        units.append(
            {
                "source": "sockets.c",
                "defines": {"PAGE_SIZE": page, "TICKS": ticks, **sockets.defines},
                "programs": dict(sockets.programs),
            }
        )
    return units


def _start_compiler(
    bcc: Path, units: list[dict[str, object]], channel: int, log: int
) -> "subprocess.Popen[bytes]":
    """Start compile.py, which answers on descriptor `channel` and writes its output to `log`."""
    return subprocess.Popen(
        [
            sys.executable or "/usr/bin/python3",
            "-I",
            str(_FOLDER / "compile.py"),
            str(channel),
            str(bcc),
            str(folder("src")),
            str(folder("headers")),
            json.dumps(units),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[channel],
    )


def _add_part(loaded: LoadedPrograms, part: str, channel: socket.socket, log: int) -> None:
    """Add the next answer's programs and maps to `loaded`, or its error to `loaded.failed`."""
    try:
        more = _receive(channel, log)
    except BpfError as error:
        loaded.failed[part] = error
    else:
        loaded.programs |= more.programs
        loaded.maps |= more.maps
        loaded.reduced |= more.reduced
        loaded.refused |= more.refused


def _receive(channel: socket.socket, log: int) -> LoadedPrograms:
    channel.settimeout(TIMEOUT_SECONDS)
    try:
        message, fds, _, _ = socket.recv_fds(channel, _MESSAGE, 64, socket.MSG_CMSG_CLOEXEC)
    except TimeoutError:
        raise BpfError(f"compiling the programs took over {TIMEOUT_SECONDS:.0f} seconds") from None
    output = os.pread(log, _MESSAGE, max(0, os.fstat(log).st_size - _MESSAGE)).decode(
        errors="replace"
    )
    if not message:
        raise BpfError(f"the compiler child died: {last_line(output)}")
    answer = json.loads(message)
    if "failed" in answer:
        raise failure(answer["failed"], answer["name"], answer["detail"], output)
    programs: list[str] = answer["programs"]
    maps: list[str] = answer["maps"]
    return LoadedPrograms(
        dict(zip(programs, fds, strict=False)),
        dict(zip(maps, fds[len(programs) :], strict=True)),
        reduced=answer.get("reduced", False),
        refused=answer.get("refused", {}),
    )


def failure(stage: str, name: str, detail: str, output: str) -> BpfError:
    """The error of a compiler child's failed answer, as one line.

    Args:
        stage: "bcc", "compile" or "load".
        name: source file, or program at stage "load".
        detail: message of the child's exception.
        output: text that clang and the verifier wrote.
    """
    if stage == "bcc":
        return BpfError(detail, INSTALL)
    if os.strerror(errno.EPERM) in detail:
        return BpfError(
            f"the kernel refused program {name}: not permitted", PRIVILEGES, errno.EPERM
        )
    if os.strerror(errno.ENOSYS) in detail:
        return BpfError("this kernel has no bpf system call", "", errno.ENOSYS)
    if stage == "load":
        return BpfError(f"the verifier refused program {name}: {last_line(output) or detail}")
    wrong = [line for line in output.splitlines() if "error: " in line or "ailed to create" in line]
    line = wrong[0] if wrong else last_line(output) or detail
    if os.strerror(errno.EPERM) in output:
        return BpfError(f"the kernel refused a map: {line}", PRIVILEGES, errno.EPERM)
    return BpfError(f"{name} does not compile: {line.strip()}")


def last_line(output: str) -> str:
    """The last line of clang's or the verifier's output that states a cause; "" for none."""
    lines = [line.strip() for line in output.splitlines() if not _VERIFIER_TAIL.search(line)]
    return lines[-1] if lines else ""
