"""Getting the programs into the kernel without ever holding a compiler."""

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

SECONDS = 300.0  # emulated machines take minutes

_HERE = Path(__file__).resolve().parent
_PACKAGE = _HERE.parent
_MESSAGE = 1 << 16
_CLOCK_MONOTONIC_COARSE = 6
_VERIFIER_TAIL = re.compile(r"processed \d+ insns|^\s*$|HINT|^\d+: \(|^; ")


@dataclass(slots=True)
class Loaded:
    """File descriptors of the programs and maps, by name; closing lets the kernel free them.

    Attributes:
        failed: why a part that was asked for is not there.
        reduced: the program of drops was refused the kernel function, and does without.
        refused: programs of sockets that the kernel did not take, with the reason; the rest goes on.
    """

    programs: dict[str, int] = field(default_factory=dict[str, int])
    maps: dict[str, int] = field(default_factory=dict[str, int])
    failed: dict[str, BpfError] = field(default_factory=dict[str, BpfError])
    reduced: bool = False
    refused: dict[str, str] = field(default_factory=dict[str, str])

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self.programs.values(), *self.maps.values()):
            os.close(fd)
        self.programs.clear()
        self.maps.clear()


def ticks_per_second() -> int:
    """Jiffies a second (CONFIG_HZ): the coarse clock advances once a jiffy."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


def folder(name: str) -> Path:
    """`src` or `headers`: inside the package when installed, beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


@dataclass(frozen=True, slots=True)
class DropUnit:
    """What the program of packet drops is made of.

    Attributes:
        defines: for the compiler.
        attach: type id of the tracepoint.
        function: type id of the kernel function bpf_rdonly_cast, or 0 when there is none.
    """

    defines: Mapping[str, int]
    attach: int
    function: int


@dataclass(frozen=True, slots=True)
class SocketUnit:
    """What the programs of TCP sockets are made of.

    Attributes:
        defines: for the compiler.
        programs: by name the program type, the expected attach type, and the type id of a
            tracepoint or 0.
    """

    defines: Mapping[str, int]
    programs: Mapping[str, tuple[int, int, int]]


def load(
    settings: Mapping[str, int] | None = None,
    drops: DropUnit | None = None,
    sockets: SocketUnit | None = None,
) -> Loaded:
    """Compile and load the programs in a short-lived child; `settings` replace those of config.h.

    Blocks for as long as LLVM takes, under a second on most machines. A failure of a part that
    connections do not need is in `Loaded.failed`.

    Raises:
        BpfError: BCC is missing, the source does not compile, or the kernel refused a program.
    """
    try:
        bcc = find_bcc()
    except MissingBcc as error:
        raise BpfError(str(error), INSTALL) from None
    page = os.sysconf("SC_PAGE_SIZE")
    defines = {"PAGE_SIZE": page, "TICKS": ticks_per_second(), **(settings or {})}
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
                "defines": {"PAGE_SIZE": page, "TICKS": ticks_per_second(), **sockets.defines},
                "programs": dict(sockets.programs),
            }
        )
    # Packets, so that one answer is one message however fast they come
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.memfd_create("flowd-compile")
    with ours, theirs:
        try:
            child = subprocess.Popen(
                [
                    sys.executable or "/usr/bin/python3",
                    "-I",
                    str(_HERE / "compile.py"),
                    str(theirs.fileno()),
                    str(bcc),
                    str(folder("src")),
                    str(folder("headers")),
                    json.dumps(units),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
            )
            try:
                theirs.close()
                loaded = _receive(ours, log)
                if drops:
                    _add(loaded, "drops", ours, log)
                if sockets:
                    _add(loaded, "sockets", ours, log)
                return loaded
            finally:
                child.kill()
                child.wait()
        finally:
            os.close(log)


def _add(loaded: Loaded, part: str, channel: socket.socket, log: int) -> None:
    try:
        more = _receive(channel, log)
    except BpfError as error:
        loaded.failed[part] = error
    else:
        loaded.programs |= more.programs
        loaded.maps |= more.maps
        loaded.reduced |= more.reduced
        loaded.refused |= more.refused


def _receive(channel: socket.socket, log: int) -> Loaded:
    channel.settimeout(SECONDS)
    try:
        message, fds, _, _ = socket.recv_fds(channel, _MESSAGE, 64, socket.MSG_CMSG_CLOEXEC)
    except TimeoutError:
        raise BpfError(f"compiling the programs took over {SECONDS:.0f} seconds") from None
    said = os.pread(log, _MESSAGE, max(0, os.fstat(log).st_size - _MESSAGE)).decode(
        errors="replace"
    )
    if not message:
        raise BpfError(f"the compiler child died: {last_line(said)}")
    answer = json.loads(message)
    if "failed" in answer:
        raise failure(answer["failed"], answer["name"], answer["detail"], said)
    programs: list[str] = answer["programs"]
    maps: list[str] = answer["maps"]
    return Loaded(
        dict(zip(programs, fds, strict=False)),
        dict(zip(maps, fds[len(programs) :], strict=True)),
        reduced=answer.get("reduced", False),
        refused=answer.get("refused", {}),
    )


def failure(stage: str, name: str, detail: str, said: str) -> BpfError:
    """One line of what went wrong in the child; `said` is what clang and the verifier wrote."""
    if stage == "bcc":
        return BpfError(detail, INSTALL)
    if os.strerror(errno.EPERM) in detail:
        return BpfError(
            f"the kernel refused program {name}: not permitted", PRIVILEGES, errno.EPERM
        )
    if os.strerror(errno.ENOSYS) in detail:
        return BpfError("this kernel has no bpf system call", "", errno.ENOSYS)
    if stage == "load":
        return BpfError(f"the verifier refused program {name}: {last_line(said) or detail}")
    wrong = [line for line in said.splitlines() if "error: " in line or "ailed to create" in line]
    line = wrong[0] if wrong else last_line(said) or detail
    if os.strerror(errno.EPERM) in said:
        return BpfError(f"the kernel refused a map: {line}", PRIVILEGES, errno.EPERM)
    return BpfError(f"{name} does not compile: {line.strip()}")


def last_line(said: str) -> str:
    """The last line that explains something, out of what clang or the verifier wrote."""
    lines = [line.strip() for line in said.splitlines() if not _VERIFIER_TAIL.search(line)]
    return lines[-1] if lines else ""
