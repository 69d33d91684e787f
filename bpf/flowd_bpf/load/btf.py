"""Read the running kernel's BTF through libbpf: type ids, field offsets, enumerations."""

import ctypes
import struct
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_uint32, c_void_p
from types import TracebackType
from typing import Self

from flowd_bpf.errors import BpfError
from flowd_bpf.libbpf import library

KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_TYPEDEF, KIND_FUNC = 4, 5, 6, 8, 12
_MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag


class KernelTypes:
    """The kernel's BTF, a context manager that frees it at exit (a few MB).

    Source: Documentation/bpf/btf.rst of the kernel.

    Raises:
        BpfError: the kernel has no BTF, or libbpf is missing.
    """

    def __init__(self) -> None:
        lib = library()
        lib.btf__load_vmlinux_btf.restype = c_void_p
        lib.btf__find_by_name_kind.argtypes = [c_void_p, c_char_p, c_uint32]
        lib.btf__find_by_name_kind.restype = c_int
        lib.btf__type_by_id.argtypes = [c_void_p, c_uint32]
        lib.btf__type_by_id.restype = c_void_p
        lib.btf__name_by_offset.argtypes = [c_void_p, c_uint32]
        lib.btf__name_by_offset.restype = c_char_p
        lib.btf__free.argtypes = [c_void_p]
        lib.btf__free.restype = None
        self._lib = lib
        self._btf: int | None = lib.btf__load_vmlinux_btf()
        if not self._btf:
            raise BpfError("the kernel does not tell its types", "needs /sys/kernel/btf/vmlinux")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lib.btf__free(self._btf)
        self._btf = None

    def find(self, name: str, kind: int) -> int:
        """Id of the type with that name and KIND_*, 0 when there is none."""
        return max(0, self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind))

    def offset(self, struct_name: str, path: str) -> int:
        """Offset of a field in bytes.

        Args:
            path: field name, `a.b` for field b of the nested struct a; fields of anonymous structs
                and unions count as the outer struct's.

        Raises:
            BpfError: there is no such struct or field.
        """
        type_id = self.find(struct_name, KIND_STRUCT)
        total = 0
        for name in path.split("."):
            found = self._field(type_id, name) if type_id else None
            if found is None:
                raise BpfError(f"this kernel has no field {struct_name}.{path}")
            bits, type_id = found
            total += bits
        return total // 8

    def constants(self, enum: str) -> dict[int, str]:
        """Names of an enumeration by value, {} if there is none; of equal values the first wins."""
        names: dict[int, str] = {}
        type_id = self.find(enum, KIND_ENUM)
        if not type_id:
            return names
        address, count, _, _ = self._type(type_id)
        for name, value in struct.iter_unpack("=II", ctypes.string_at(address + 12, 8 * count)):
            names.setdefault(value, self._name(name))
        return names

    def parameters(self, typedef: str) -> int:
        """Number of parameters of a function-pointer typedef, 0 when there is none."""
        type_id = self.find(typedef, KIND_TYPEDEF)
        for _ in range(2):  # typedef, then pointer
            if not type_id:
                return 0
            type_id = self._type(type_id)[3]
        return self._type(type_id)[1] if type_id else 0

    def _type(self, type_id: int) -> tuple[int, int, int, int]:
        """Address, number of members, info, and size or referenced type id of struct btf_type."""
        address: int | None = self._lib.btf__type_by_id(self._btf, type_id)
        if not address:
            raise BpfError(f"the kernel's types have no number {type_id}")
        _, info, size = struct.unpack("=III", ctypes.string_at(address, 12))
        return address, info & 0xFFFF, info, size

    def _name(self, offset: int) -> str:
        return (self._lib.btf__name_by_offset(self._btf, offset) or b"").decode()

    def _resolve(self, type_id: int) -> tuple[int, int]:
        """Id and kind of the type behind typedefs and qualifiers."""
        while True:
            _, _, info, target = self._type(type_id)
            kind = info >> 24 & 0x1F
            if kind not in _MODIFIERS:
                return type_id, kind
            type_id = target

    def _members(self, type_id: int) -> Iterator[tuple[str, int, int]]:
        address, count, info, _ = self._type(type_id)
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF  # with bit fields the upper byte is the size
        for name, kind, bits in struct.iter_unpack(
            "=III", ctypes.string_at(address + 12, 12 * count)
        ):
            yield self._name(name), kind, bits & mask

    def _field(self, type_id: int, wanted: str) -> tuple[int, int] | None:
        type_id, kind = self._resolve(type_id)
        if kind not in (KIND_STRUCT, KIND_UNION):
            return None
        for name, target, bits in self._members(type_id):
            if name == wanted:
                return bits, target
            if not name and (inner := self._field(target, wanted)):
                return bits + inner[0], inner[1]
        return None
