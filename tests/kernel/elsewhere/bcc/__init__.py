"""The part of BCC's API that flowd_bpf/load/compile.py uses, with compilation on the host.

Standard library only, since compile.py loads it by file. `FLOWD_TEST_OBJECTS` is the shared folder;
the host answers `KEY.request` in it with `KEY.object`, both JSON.
"""

import base64
import ctypes
import hashlib
import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = "FLOWD_TEST_OBJECTS"
SK_STORAGE = 24  # BPF_MAP_TYPE_SK_STORAGE, which requires BTF
LOG_BYTES = 1 << 18


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("btf_fd", ctypes.c_uint32),
        ("btf_key", ctypes.c_uint32),
        ("btf_value", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 2),
        ("flags", ctypes.c_uint32),
        ("extra", ctypes.c_uint64),
        ("places", ctypes.c_uint32 * 2),
    ]


class _LoadOptions(ctypes.Structure):
    """The first fields of struct bpf_prog_load_opts of libbpf."""

    _fields_ = [
        ("size", ctypes.c_size_t),
        ("unused", ctypes.c_uint32 * 9),
        ("pointers", ctypes.c_void_p * 2),
        ("counts", ctypes.c_uint32 * 2),
        ("more_pointers", ctypes.c_void_p),
        ("more_counts", ctypes.c_uint32 * 2),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_void_p),
    ]


def wanted(text: bytes, flags: list[str]) -> dict[str, Any]:
    """The host's answer; waits without a limit.

    Raises:
        RuntimeError: the source does not compile.
    """
    question = json.dumps({"text": text.decode(), "flags": flags})
    folder = Path(os.environ[FOLDER])
    key = hashlib.sha256(question.encode()).hexdigest()[:32]
    answer = folder / f"{key}.object"
    if not answer.exists():
        part = folder / f"{key}.{os.getpid()}.part"
        part.write_text(question)
        part.rename(folder / f"{key}.request")
        while not answer.exists():
            time.sleep(0.1)
    told: dict[str, Any] = json.loads(answer.read_text())
    if "failed" in told:
        sys.stderr.write(told["said"])
        raise RuntimeError(told["failed"])
    return told


def _btf(size: int) -> int:
    """Descriptor of BTF with an int and an array of `size` bytes."""
    number = struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32)  # signed
    byte = struct.pack("=IIII", 5, 1 << 24, 1, 8)
    array = struct.pack("=IIIIII", 0, 3 << 24, 0, 2, 1, size)
    types, names = number + byte + array, b"\0int\0u8\0"
    head = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    whole = head + types + names
    return _checked(_library().bpf_btf_load(whole, len(whole), None), "types")


def _library() -> ctypes.CDLL:
    return ctypes.CDLL("libbpf.so.1", use_errno=True)


def _checked(fd: int, what: str) -> int:
    if fd < 0:
        raise OSError(-fd, f"{what}: {os.strerror(-fd)}")
    return fd


def make_map(told: dict[str, Any]) -> int:
    """Create a map; returns its descriptor.

    Raises:
        OSError: the kernel refused the map.
    """
    options = _MapOptions(ctypes.sizeof(_MapOptions), flags=told["flags"])
    if told["type"] == SK_STORAGE:
        options.btf_fd, options.btf_key, options.btf_value = _btf(told["value"]), 1, 3
    words = (told["type"], told["name"].encode(), told["key"], told["value"], told["entries"])
    try:
        fd = _library().bpf_map_create(*words, ctypes.byref(options))
        return _checked(fd, f"failed to create map {told['name']}")
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        raise
    finally:
        if options.btf_fd:
            os.close(options.btf_fd)


def linked(program: dict[str, Any], maps: list[int]) -> bytes:
    """Bytecode with each map number replaced by that map's descriptor."""
    code = bytearray(base64.b64decode(program["code"]))
    for at, number in program["maps"]:
        struct.pack_into("=i", code, at, maps[number])
    return bytes(code)


def load(kind: int, name: bytes, code: bytes) -> int:
    """Load a program; returns its descriptor. The verifier log of a refused one goes to stderr.

    Raises:
        OSError: the kernel refused the program.
    """
    options = _LoadOptions(ctypes.sizeof(_LoadOptions))
    words = (kind, name, b"GPL", code, len(code) // 8)
    fd = _library().bpf_prog_load(*words, ctypes.byref(options))
    if fd < 0:
        log = ctypes.create_string_buffer(LOG_BYTES)
        options.log_level, options.log_size = 1, len(log)
        options.log_buf = ctypes.addressof(log)
        fd = _library().bpf_prog_load(*words, ctypes.byref(options))
        if fd < 0:
            sys.stderr.write(log.value.decode(errors="replace"))
    return _checked(fd, f"failed to load {name.decode()}")


class Function:
    """A program in the kernel."""

    def __init__(self, fd: int) -> None:
        self.fd = fd


class Table:
    """A map in the kernel."""

    def __init__(self, fd: int) -> None:
        self.map_fd = fd


class BPF:
    """One source, compiled, with its maps made."""

    SCHED_CLS = 3

    def __init__(self, text: bytes, cflags: list[str]) -> None:
        told = wanted(text, cflags)
        self.module = self
        self.maps = {one["name"]: make_map(one) for one in told["maps"]}
        fds = list(self.maps.values())
        self.code = {name: linked(program, fds) for name, program in told["programs"].items()}

    def load_func(self, name: bytes, kind: int) -> Function:
        """Load a program."""
        return Function(load(kind, name, self.code[name.decode()]))

    def __getitem__(self, name: bytes) -> Table:
        return Table(self.maps[name.decode()])


class lib:
    """BCC's `lib`, from which compile.py reads a program's bytecode."""

    @staticmethod
    def bpf_function_start(module: BPF, name: bytes) -> "ctypes.Array[ctypes.c_char]":
        """The bytecode."""
        code = module.code[name.decode()]
        return ctypes.create_string_buffer(code, len(code))

    @staticmethod
    def bpf_function_size(module: BPF, name: bytes) -> int:
        """Length of the bytecode in bytes."""
        return len(module.code[name.decode()])
