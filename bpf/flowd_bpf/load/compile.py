"""The compiler child: C in, file descriptors out.

Run as `python -I compile.py SOCKET BCC SOURCES HEADERS UNITS`, where UNITS is a JSON list of
`{"source": "flow.c", "defines": {...}}`, and for typed raw tracepoints `"attach"` (id of the
tracepoint's type) and `"function"` (id of the kernel function they call, or 0) too, or for programs
of several kinds `"programs"`: by name the program type, the expected attach type, and the id of the
tracepoint's type or 0. It needs the standard library and BCC only, and answers on the socket with one
JSON message a unit: `{"programs": [...], "maps": [...]}` with the descriptors beside it (SCM_RIGHTS),
in this order, or `{"failed": stage, "name": ..., "detail": ...}`. A unit that is refused with its
kernel function is tried without, and the answer then has `"reduced": true`; tracepoints out of
several kinds that are refused are left out, and are in `"refused"` with the reason. What clang and
the verifier have to say goes to stderr.
"""

import ctypes
import importlib.util
import json
import os
import re
import socket
import struct
import sys
from pathlib import Path
from typing import Any

PROGRAMS = {
    "flow.c": (
        *("flowd_in", "flowd_out", "flowd_in_raw", "flowd_out_raw"),
        *("flowd_clock", "flowd_take"),
    ),
    "drops.c": ("flowd_drop",),
    "sockets.c": (
        "flowd_connect4",
        "flowd_connect6",
        "flowd_bind4",
        "flowd_bind6",
        "flowd_sock_ops",
        "flowd_sock_state",
        "flowd_reset_out",
        "flowd_reset_in",
    ),
}
MAPS = {
    "flow.c": (
        *("flowd_conns", "flowd_held", "flowd_endpoints", "flowd_counters", "flowd_events"),
        *("flowd_tunnels", "flowd_prefixes"),
    ),
    "drops.c": ("flowd_drops", "flowd_drops_full"),
    "sockets.c": ("flowd_socket_counters", "flowd_socket_errors", "flowd_socket_events"),
}
OPTIONAL_MAPS = {
    "DNS_PORT": ("flowd_dns_short", "flowd_dns_long"),
    "FILTER_CIDR": ("flowd_filter_cidrs",),
    "FILTER_PORT": ("flowd_filter_numbers",),
    "FILTER_PROTOCOL": ("flowd_filter_numbers",),
}
"""Maps that are there with a define."""
TRACING, RAW_TP = 26, 23
"""BPF_PROG_TYPE_TRACING and BPF_TRACE_RAW_TP, include/uapi/linux/bpf.h."""

KFUNC_CALL = 0x7F0F10D0
"""What drops.c calls in place of a kernel function; helpers have small numbers."""

FLAGS = ("-nostdinc", "-Wall", "-Werror=implicit-function-declaration")

_INCLUDE = re.compile(r'#include "(.+)"')


def expand(folder: Path, name: str, done: set[str]) -> str:
    """One text of a source and the files it includes: BCC rewrites map calls only there."""
    done.add(name)
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate((folder / name).read_text().splitlines(), 2):
        include = _INCLUDE.fullmatch(line)
        if not include:
            lines.append(line)
        elif include[1] not in done:
            lines += [expand(folder, include[1], done), f'#line {number} "{name}"']
        else:
            lines.append("")
    return "\n".join(lines)


class _LoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf, as far as it is in use."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("unused", ctypes.c_uint32 * 4),
        ("attach_btf_id", ctypes.c_uint32),
        ("fds", ctypes.c_uint32 * 2),
        ("pointers", ctypes.c_void_p * 2),
        ("counts", ctypes.c_uint32 * 2),
        ("more_pointers", ctypes.c_void_p),
        ("more_counts", ctypes.c_uint32 * 2),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_char_p),
    ]


def call_function(code: bytes, number: int) -> bytes:
    """Bytecode with each call of KFUNC_CALL made one of the kernel function of that type id."""
    placeholder = struct.pack("=BBhi", 0x85, 0x00, 0, KFUNC_CALL)  # call a helper
    real = struct.pack("=BBhi", 0x85, 0x20, 0, number)  # BPF_PSEUDO_KFUNC_CALL
    slots = (code[at : at + 8] for at in range(0, len(code), 8))
    return b"".join(real if slot == placeholder else slot for slot in slots)


def without_function(unit: dict[str, Any]) -> dict[str, Any]:
    """The unit as for a kernel that has not the function, or does not let it be called."""
    defines = {k: v for k, v in unit["defines"].items() if not k.startswith("KFUNC_")}
    return {**unit, "defines": defines, "function": 0}


def load_program(
    bcc: Any, module: Any, name: str, kind: int, expected: int, attach: int = 0, function: int = 0
) -> int:
    """Load what BCC itself cannot, such as a typed raw tracepoint: the descriptor.

    Args:
        kind, expected: program type, and attach type that it is for.
        attach, function: as in the unit.

    Raises:
        OSError: the kernel refused it; its words are on stderr.
    """
    begin = bcc.lib.bpf_function_start(module.module, name.encode())
    size = bcc.lib.bpf_function_size(module.module, name.encode())
    code = call_function(ctypes.string_at(begin, size), function)
    load = ctypes.CDLL("libbpf.so.1").bpf_prog_load
    log = ctypes.create_string_buffer(1 << 16)
    options = _LoadOptions(ctypes.sizeof(_LoadOptions), attach_btf_id=attach)
    options.expected_attach_type = expected
    options.log_level, options.log_size = 1, len(log)
    options.log_buf = ctypes.addressof(log)
    fd: int = load(kind, name.encode(), b"GPL", code, len(code) // 8, ctypes.byref(options))
    if fd < 0:
        sys.stderr.write(log.value.decode(errors="replace"))
        raise OSError(-fd, os.strerror(-fd))
    return fd


def build(bcc: Any, sources: Path, unit: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Compile and load: the answer, and the descriptors that go with it."""
    source: str = unit["source"]
    flags = [*FLAGS, *(f"-D{name}={value}" for name, value in unit["defines"].items())]
    try:
        text = expand(sources, source, set())
        module = bcc.BPF(text=text.encode(), cflags=flags)
    except Exception as error:  # noqa: BLE001 (BCC raises nothing narrower)
        return {"failed": "compile", "name": source, "detail": str(error)}, []
    descriptors: list[int] = []
    several: dict[str, tuple[int, int, int]] = unit.get("programs", {})
    programs = [name for name in PROGRAMS[source] if not several or name in several]
    refused: dict[str, str] = {}
    for name in programs:
        try:
            if several:
                descriptors.append(load_program(bcc, module, name, *several[name]))
            elif "attach" in unit:
                how = TRACING, RAW_TP, unit["attach"], unit["function"]
                descriptors.append(load_program(bcc, module, name, *how))
            else:
                descriptors.append(module.load_func(name.encode(), bcc.BPF.SCHED_CLS).fd)
        except Exception as error:  # noqa: BLE001
            if not several or several[name][0] != TRACING:
                return {"failed": "load", "name": name, "detail": str(error)}, []
            refused[name] = str(error)
    optional = (OPTIONAL_MAPS.get(define, ()) for define in unit["defines"])
    maps = list(dict.fromkeys([*MAPS[source], *(name for names in optional for name in names)]))
    descriptors += [module[name.encode()].map_fd for name in maps]
    # What BCC made must outlive this call, or it closes the descriptors before they are sent.
    _kept.append(module)
    loaded = [name for name in programs if name not in refused]
    return {"programs": loaded, "maps": maps, "refused": refused}, descriptors


_kept: list[Any] = []


def main(arguments: list[str]) -> None:
    """Answer on the socket, then go without cleaning up: the kernel does."""
    channel = socket.socket(fileno=int(arguments[0]))
    finder = importlib.util.spec_from_file_location("flowd_bcc", Path(__file__).with_name("bcc.py"))
    assert finder is not None
    assert finder.loader is not None
    places = importlib.util.module_from_spec(finder)
    finder.loader.exec_module(places)
    os.environ["BCC_KERNEL_SOURCE"] = arguments[3]
    try:
        bcc = places.load_bcc(Path(arguments[1]))
    except places.MissingBcc as error:
        answer = {"failed": "bcc", "name": "bcc", "detail": str(error)}
        socket.send_fds(channel, [json.dumps(answer).encode()], [])
    else:
        for unit in json.loads(arguments[4]):
            answer, descriptors = build(bcc, Path(arguments[2]), unit)
            if "failed" in answer and unit.get("function"):
                answer, descriptors = build(bcc, Path(arguments[2]), without_function(unit))
                answer["reduced"] = True
            sys.stderr.flush()
            socket.send_fds(channel, [json.dumps(answer).encode()], descriptors)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
