"""dtypes equal the C structs byte for byte, and enumerations equal the C constants."""

import re
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowd.capture.kernel.tunnels import UNNAMED, port_settings
from flowd.model.enums import Hook, Initiator, Reason, SocketAlso, SocketReason, SocketRole
from flowd.settings import Settings
from flowd_bpf import layout
from flowd_bpf.load import loader

STRUCTS: dict[str, np.dtype[Any]] = {
    "connection_key": layout.KEY,
    "side": layout.SIDE,
    "connection": layout.CONNECTION,
    "eviction": layout.EVICTION,
    "flow_event": layout.EVENT,
    "tunnel": layout.TUNNEL,
    "drop_key": layout.DROP_KEY,
    "drop_count": layout.DROP_COUNT,
    "socket_event": layout.SOCKET_EVENT,
    "dns_head": layout.DNS_HEAD,
    "dns_short": layout.DNS_SHORT,
    "dns_long": layout.DNS_LONG,
}


def of_numpy(dtype: np.dtype[Any]) -> dict[str, tuple[int, int]]:
    assert dtype.fields is not None
    return {name: (int(field[1]), field[0].itemsize) for name, field in dtype.fields.items()}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[int, int]]]:
    """Offset and size of every field, from the C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    lines = [
        '#include "records/drop.h"',
        '#include "records/socket.h"',
        '#include "records/dns_record.h"',
        '#include "records/counters.h"',
        "int printf(const char *, ...);",
    ]
    lines += ["int main(void) {"]
    lines.append('printf("prefix - %d 0\\n", (int)sizeof(struct prefix));')
    for struct, dtype in STRUCTS.items():
        for name in of_numpy(dtype):
            at = f"(int)__builtin_offsetof(struct {struct}, {name})"
            size = f"(int)sizeof(((struct {struct} *)0)->{name})"
            lines.append(f'printf("{struct} {name} %d %d\\n", {at}, {size});')
        lines.append(f'printf("{struct} - %d 0\\n", (int)sizeof(struct {struct}));')
    folder = tmp_path_factory.mktemp("layout")
    source, program = folder / "layout.c", folder / "layout"
    source.write_text("\n".join([*lines, "}"]))
    headers = [f"-I{loader.folder('headers') / 'include'}", f"-I{loader.folder('src')}"]
    flags = ["-std=c11", "-nostdinc", "-o", str(program)]
    subprocess.run([compiler, *flags, *headers, str(source)], check=True)
    found: dict[str, dict[str, tuple[int, int]]] = {struct: {} for struct in (*STRUCTS, "prefix")}
    for line in subprocess.check_output([program], text=True).splitlines():
        struct, name, at, size = line.split()
        found[struct][name] = int(at), int(size)
    return found


@pytest.mark.parametrize("struct", STRUCTS)
def test_struct(compiled: dict[str, dict[str, tuple[int, int]]], struct: str) -> None:
    fields = compiled[struct]
    size, _ = fields.pop("-")
    assert STRUCTS[struct].itemsize == size
    assert of_numpy(STRUCTS[struct]) == fields


def test_key_of_a_longest_prefix_map(compiled: dict[str, dict[str, tuple[int, int]]]) -> None:
    assert compiled["prefix"]["-"] == (layout.PREFIX.itemsize, 0)
    assert of_numpy(layout.PREFIX) == {"bits": (0, 4), "addr": (4, 16)}


@pytest.mark.parametrize("struct", STRUCTS)
def test_no_padding_is_left_to_the_compiler(struct: str) -> None:
    at = 0
    for offset, size in of_numpy(STRUCTS[struct]).values():
        assert offset == at
        at += size
    assert at == STRUCTS[struct].itemsize
    assert at % 8 == 0


@pytest.mark.parametrize(
    ("prefix", "enum"), [("REASON", Reason), ("INITIATOR", Initiator), ("HOOK", Hook)]
)
def test_enumeration(prefix: str, enum: type[IntEnum]) -> None:
    text = (loader.folder("src") / "records" / "event.h").read_text()
    found = {name: int(n) for name, n in re.findall(rf"\b{prefix}_(\w+) = (\d+)", text)}
    assert found == {member.name: member.value for member in enum}


def test_kinds_of_tunnel() -> None:
    text = (loader.folder("src") / "records" / "event.h").read_text()
    found = {name: int(n) for name, n in re.findall(r"\bTUNNEL_(\w+) = (\d+)", text)}
    assert found == {kind.name: kind.value for kind in layout.TunnelKind}
    assert f"#define TUNNEL_UNNAMED {UNNAMED} " in text


def test_ports_of_tunnels_are_those_of_the_settings() -> None:
    text = (loader.folder("src") / "config.h").read_text()
    found = {name: int(n, 0) for name, n in re.findall(r"#define (TUNNEL_\d) (\w+)", text)}
    assert found == port_settings(Settings().tunnel_port)


@pytest.mark.parametrize(("prefix", "enum"), [("SOCKET", SocketReason), ("ROLE", SocketRole)])
def test_enumeration_of_sockets(prefix: str, enum: type[IntEnum]) -> None:
    text = (loader.folder("src") / "records" / "socket.h").read_text()
    found = {name: int(n) for name, n in re.findall(rf"\b{prefix}_(\w+) = (\d+)", text)}
    assert found == {member.name: member.value for member in enum}


def test_socket_counters() -> None:
    text = (loader.folder("src") / "records" / "socket.h").read_text()
    names = re.findall(r"^\tSOCKETS_(\w+),", text, re.MULTILINE)
    assert names == [*(counter.name for counter in layout.SocketCounter), "COUNTERS"]


def test_counters() -> None:
    text = (loader.folder("src") / "records" / "counters.h").read_text()
    names = re.findall(r"^\tCOUNT_(\w+),", text, re.MULTILINE)
    assert names == [counter.name for counter in layout.Counter]


def test_what_a_socket_record_tells_beside_its_reason() -> None:
    text = (loader.folder("src") / "records" / "socket.h").read_text()
    found = dict(re.findall(r"^\tALSO_(\w+) = 0x(\d)0,", text, re.MULTILINE))
    assert found == {also.name: str(also.value) for also in SocketAlso}


def test_ways_of_taking() -> None:
    text = (loader.folder("src") / "records" / "event.h").read_text()
    found = dict(re.findall(r"^\tEVICT_(\w+) = (\d),", text, re.MULTILINE))
    assert found == {mode.name: str(mode.value) for mode in layout.EvictMode}
    assert f"#define EVICT_BATCH {layout.EVICT_BATCH} " in text


def test_states_of_a_slot() -> None:
    text = (loader.folder("src") / "records" / "event.h").read_text()
    found = dict(re.findall(r"^\tSLOT_(\w+) = (\d),", text, re.MULTILINE))
    assert found == {state.name: str(state.value) for state in layout.SlotState}


def test_marks() -> None:
    text = (loader.folder("src") / "records" / "event.h").read_text()
    marks = {name: 1 << int(bit) for name, bit in re.findall(r"MARK_(\w+) \(1ULL << (\d+)\)", text)}
    assert marks == {"ANNOUNCED": layout.MARK_ANNOUNCED, "ENDED": layout.MARK_ENDED}


def test_headers_need_nothing_else() -> None:
    here = loader.folder("headers") / "include"
    for source in (*loader.folder("src").rglob("*.[ch]"), *here.rglob("*.h")):
        for name in re.findall(r"#include <(.+)>", source.read_text()):
            assert (Path(here) / name).is_file(), f"{source.name} includes {name}"
