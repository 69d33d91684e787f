"""The compiler child: compile C with BCC, load the programs, send their descriptors to the agent.

Run as `python -I compile.py SOCKET BCC SOURCES HEADERS UNITS`; imports the standard library and BCC
only. UNITS is a JSON list of compilation units with the keys

* `source` (as in PROGRAMS) and `defines`;
* for one typed raw tracepoint: `attach` (BTF id of the tracepoint's type) and `function` (BTF id of
  the kernel function that it calls, or 0);
* for several program types: `programs`, which maps each name to program type, expected attach type,
  and BTF id of the tracepoint's type or 0.

The answer is one JSON message a unit, in order: `{"programs": [...], "maps": [...]}` with the
descriptors in this order beside it (SCM_RIGHTS), or `{"failed": stage, "name": ..., "detail": ...}`.
A unit that fails with its kernel function is retried without it, and its answer has
`"reduced": true`. A tracepoint that the kernel refuses, of several program types, is left out, with
its reason under `"refused"`. Output of clang and the verifier goes to stderr.
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
        *("flowd_clock", "flowd_evict"),
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
        *("flowd_conns", "flowd_used_slots", "flowd_endpoints", "flowd_counters", "flowd_events"),
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
"""Maps that exist only with a define."""
TRACING, RAW_TP = 26, 23
"""BPF_PROG_TYPE_TRACING and BPF_TRACE_RAW_TP, include/uapi/linux/bpf.h."""

KFUNC_CALL = 0x7F0F10D0
"""Placeholder that drops.c calls in place of a kernel function; helper numbers are small."""

FLAGS = ("-nostdinc", "-Wall", "-Werror=implicit-function-declaration")

_INCLUDE = re.compile(r'#include "(.+)"')


def inline_includes(folder: Path, name: str, done: set[str]) -> str:
    """The source with its includes inlined, since BCC rewrites map calls only in the main text.

    Args:
        done: names already inlined; grows.
    """
    done.add(name)
    lines = [f'#line 1 "{name}"']
    for number, line in enumerate((folder / name).read_text().splitlines(), 2):
        include = _INCLUDE.fullmatch(line)
        if not include:
            lines.append(line)
        elif include[1] not in done:
            lines += [inline_includes(folder, include[1], done), f'#line {number} "{name}"']
        else:
            lines.append("")
    return "\n".join(lines)


class _LoadOptions(ctypes.Structure):
    """The first fields of struct bpf_prog_load_opts of libbpf."""

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
    """Bytecode with calls of KFUNC_CALL replaced by calls of the kernel function with a BTF id."""
    placeholder = struct.pack("=BBhi", 0x85, 0x00, 0, KFUNC_CALL)  # call a helper
    real = struct.pack("=BBhi", 0x85, 0x20, 0, number)  # BPF_PSEUDO_KFUNC_CALL
    instructions = (code[at : at + 8] for at in range(0, len(code), 8))
    return b"".join(real if one == placeholder else one for one in instructions)


def without_function(unit: dict[str, Any]) -> dict[str, Any]:
    """The unit for a kernel that lacks the function or refuses calls of it."""
    defines = {k: v for k, v in unit["defines"].items() if not k.startswith("KFUNC_")}
    return {**unit, "defines": defines, "function": 0}


def load_program(
    bcc: Any, module: Any, name: str, kind: int, expected: int, attach: int = 0, function: int = 0
) -> int:
    """Load a program that BCC itself cannot, such as a typed raw tracepoint.

    Args:
        kind, expected: program type and expected attach type.
        attach, function: BTF ids as in the unit.

    Returns:
        The descriptor.

    Raises:
        OSError: the kernel refused the program; the verifier log is on stderr.
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
    """Compile a unit and load its programs; returns the answer and its descriptors."""
    source: str = unit["source"]
    flags = [*FLAGS, *(f"-D{name}={value}" for name, value in unit["defines"].items())]
    try:
        text = inline_includes(sources, source, set())
        module = bcc.BPF(text=text.encode(), cflags=flags)
    except Exception as error:  # noqa: BLE001 (BCC raises nothing narrower)
        return {"failed": "compile", "name": source, "detail": str(error)}, []
    descriptors: list[int] = []
    types: dict[str, tuple[int, int, int]] = unit.get("programs", {})
    programs = [name for name in PROGRAMS[source] if not types or name in types]
    refused: dict[str, str] = {}
    for name in programs:
        try:
            if types:
                descriptors.append(load_program(bcc, module, name, *types[name]))
            elif "attach" in unit:
                tracepoint = TRACING, RAW_TP, unit["attach"], unit["function"]
                descriptors.append(load_program(bcc, module, name, *tracepoint))
            else:
                descriptors.append(module.load_func(name.encode(), bcc.BPF.SCHED_CLS).fd)
        except Exception as error:  # noqa: BLE001
            if not types or types[name][0] != TRACING:
                return {"failed": "load", "name": name, "detail": str(error)}, []
            refused[name] = str(error)
    optional = (OPTIONAL_MAPS.get(define, ()) for define in unit["defines"])
    maps = list(dict.fromkeys([*MAPS[source], *(name for names in optional for name in names)]))
    descriptors += [module[name.encode()].map_fd for name in maps]
    # BCC closes the descriptors when the module is freed, so it must live until they are sent.
    _modules.append(module)
    loaded = [name for name in programs if name not in refused]
    return {"programs": loaded, "maps": maps, "refused": refused}, descriptors


_modules: list[Any] = []


def main(arguments: list[str]) -> None:
    """Answer on the socket, then exit without clean-up, which the kernel does faster."""
    channel = socket.socket(fileno=int(arguments[0]))
    finder = importlib.util.spec_from_file_location("flowd_bcc", Path(__file__).with_name("bcc.py"))
    assert finder is not None
    assert finder.loader is not None
    bcc_finder = importlib.util.module_from_spec(finder)
    finder.loader.exec_module(bcc_finder)
    os.environ["BCC_KERNEL_SOURCE"] = arguments[3]
    try:
        bcc = bcc_finder.load_bcc(Path(arguments[1]))
    except bcc_finder.MissingBcc as error:
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
