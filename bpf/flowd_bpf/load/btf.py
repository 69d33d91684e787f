"""Reading the running kernel's types (BTF) through libbpf: fields, enumerations, ids."""

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
    """The kernel's own types, for as long as the context lasts (a few MB).

    Source: Documentation/bpf/btf.rst of the kernel.

    Raises:
        BpfError: this kernel has none, or libbpf is missing.
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
        """Id of a named type, 0 when there is none of that kind."""
        return max(0, self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind))

    def offset(self, struct_name: str, path: str) -> int:
        """Offset in bytes of a field, `a.b` for one of a struct inside; anonymous ones are seen through.

        Raises:
            BpfError: there is no such struct or field.
        """
        where = self.find(struct_name, KIND_STRUCT)
        total = 0
        for name in path.split("."):
            found = self._field(where, name) if where else None
            if found is None:
                raise BpfError(f"this kernel has no field {struct_name}.{path}")
            bits, where = found
            total += bits
        return total // 8

    def constants(self, enum: str) -> dict[int, str]:
        """Names of an enumeration by value, {} when there is none; the first of equal ones wins."""
        names: dict[int, str] = {}
        where = self.find(enum, KIND_ENUM)
        if not where:
            return names
        address, count, _, _ = self._type(where)
        for name, value in struct.iter_unpack("=II", ctypes.string_at(address + 12, 8 * count)):
            names.setdefault(value, self._name(name))
        return names

    def parameters(self, typedef: str) -> int:
        """How many parameters a typedef of a function pointer has, 0 when there is none."""
        where = self.find(typedef, KIND_TYPEDEF)
        for _ in range(2):  # the typedef, the pointer
            if not where:
                return 0
            where = self._type(where)[3]
        return self._type(where)[1] if where else 0

    def _type(self, where: int) -> tuple[int, int, int, int]:
        """Address, number of members, info, and size or type of a type."""
        address: int | None = self._lib.btf__type_by_id(self._btf, where)
        if not address:
            raise BpfError(f"the kernel's types have no number {where}")
        _, info, size = struct.unpack("=III", ctypes.string_at(address, 12))
        return address, info & 0xFFFF, info, size

    def _name(self, offset: int) -> str:
        return (self._lib.btf__name_by_offset(self._btf, offset) or b"").decode()

    def _resolve(self, where: int) -> tuple[int, int]:
        """The type behind typedefs and qualifiers, and its kind."""
        while True:
            _, _, info, target = self._type(where)
            kind = info >> 24 & 0x1F
            if kind not in _MODIFIERS:
                return where, kind
            where = target

    def _members(self, where: int) -> Iterator[tuple[str, int, int]]:
        address, count, info, _ = self._type(where)
        mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF  # with bit fields the size is above
        for name, kind, bits in struct.iter_unpack(
            "=III", ctypes.string_at(address + 12, 12 * count)
        ):
            yield self._name(name), kind, bits & mask

    def _field(self, where: int, wanted: str) -> tuple[int, int] | None:
        where, kind = self._resolve(where)
        if kind not in (KIND_STRUCT, KIND_UNION):
            return None
        for name, target, bits in self._members(where):
            if name == wanted:
                return bits, target
            if not name and (inner := self._field(target, wanted)):
                return bits + inner[0], inner[1]
        return None
