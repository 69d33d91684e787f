"""Compile server on the host: answers compile requests in a shared folder.

Run as a program, it is one compiler child: JSON requests by line on stdin, JSON answers on stdout.
"""

import base64
import contextlib
import ctypes
import json
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from flowd_bpf.load.bcc import load_bcc
from flowd_bpf.load.loader import folder

ROOT = Path(__file__).resolve().parents[3]
LOAD_WIDE = 0x18  # BPF_LD | BPF_IMM | BPF_DW
MAP_FD = 1  # BPF_PSEUDO_MAP_FD
REQUESTS = 200  # of one child, since LLVM does not free all of its memory


_pointer = ctypes.c_void_p


class _MapInfo(ctypes.Structure):
    """The first fields of struct bpf_map_info."""

    _fields_ = [(n, ctypes.c_uint32) for n in ("type", "id", "key", "value", "entries", "flags")]


def compiled(bcc: Any, text: str, flags: list[str]) -> dict[str, Any]:
    """Types and sizes of the maps; code of the programs with offset and number of its maps."""
    made = bcc.BPF(text=text.encode(), cflags=flags)
    try:
        lib, module = bcc.lib, made.module
        maps: list[dict[str, Any]] = []
        numbers: dict[int, int] = {}
        for at in range(lib.bpf_num_tables(_pointer(module))):
            fd = lib.bpf_table_fd_id(_pointer(module), at)
            numbers[fd] = at
            name = ctypes.string_at(lib.bpf_table_name(_pointer(module), at)).decode()
            maps.append({"name": name, **_map(fd)})
        names = [lib.bpf_function_name(module, at) for at in range(lib.bpf_num_functions(module))]
        programs = {name.decode(): _program(lib, module, name, numbers) for name in names}
    finally:
        made.cleanup()
    return {"maps": maps, "programs": programs}


def _map(fd: int) -> dict[str, int]:
    info, size = _MapInfo(), ctypes.c_uint32(ctypes.sizeof(_MapInfo))
    library = ctypes.CDLL("libbpf.so.1")
    failed = library.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(size))
    if failed:
        raise OSError(-failed, os.strerror(-failed))
    return {name: getattr(info, name) for name in ("type", "key", "value", "entries", "flags")}


def _program(lib: Any, module: int, name: bytes, numbers: dict[int, int]) -> dict[str, Any]:
    size = lib.bpf_function_size(module, name)
    code = bytearray(ctypes.string_at(lib.bpf_function_start(module, name), size))
    maps: list[tuple[int, int]] = []
    for at in range(0, size, 8):
        if code[at] == LOAD_WIDE and code[at + 1] >> 4 == MAP_FD:
            maps.append((at + 4, numbers[struct.unpack_from("=i", code, at + 4)[0]]))
            struct.pack_into("=i", code, at + 4, 0)
    return {"code": base64.b64encode(code).decode(), "maps": maps}


class Compiler:
    """A compiler child, restarted after REQUESTS requests."""

    def __init__(self) -> None:
        self._said = os.memfd_create("flowd-compiler")
        self._child: subprocess.Popen[str] | None = None
        self._left = 0

    def answer(self, request: str) -> str:
        """The answer to one request, both JSON."""
        if not self._left:
            self.close()
            os.ftruncate(self._said, 0)
            os.lseek(self._said, 0, os.SEEK_SET)
            self._child = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=ROOT,
                env={**os.environ, "BCC_KERNEL_SOURCE": str(folder("headers"))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
            )
            self._left = REQUESTS
        self._left -= 1
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(request + "\n")
        self._child.stdin.flush()
        told = self._child.stdout.readline()
        if not told or "failed" in json.loads(told):
            self._left = 0
            said = os.pread(self._said, 1 << 16, 0).decode(errors="replace")
            failed = {"failed": "the compiler died", **json.loads(told or "{}")}
            return json.dumps({**failed, "said": said})
        return told

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._child.kill()
            self._child.communicate()
            self._child = None


class Server:
    """Answers requests in a folder until it is closed, one per CPU at a time."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._stop = threading.Event()
        self._lock = threading.Lock()
        count = os.cpu_count() or 1
        self._threads = [threading.Thread(target=self._serve) for _ in range(count)]

    def __enter__(self) -> Self:
        self._place.mkdir(parents=True, exist_ok=True)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        compiler = Compiler()
        try:
            while not self._stop.wait(0.02):
                while taken := self._take():
                    part = taken.with_suffix(f".{threading.get_ident()}.part")
                    part.write_text(compiler.answer(taken.read_text()))
                    part.rename(taken.with_suffix(".object"))
                    taken.unlink()
        finally:
            compiler.close()

    def _take(self) -> Path | None:
        """Claim a pending request; None when there is none."""
        with self._lock:
            for request in self._place.glob("*.request"):
                with contextlib.suppress(FileNotFoundError):  # another server was faster
                    return request.rename(request.with_suffix(".taken"))
        return None


def _answers() -> Iterator[str]:
    bcc = load_bcc()
    bcc.lib.bpf_table_name.restype = ctypes.c_void_p
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = compiled(bcc, request["text"], request["flags"])
        except Exception as error:  # noqa: BLE001 (BCC raises nothing narrower)
            answer = {"failed": str(error)}
        yield json.dumps(answer)


if __name__ == "__main__":
    for each in _answers():
        print(each, flush=True)
