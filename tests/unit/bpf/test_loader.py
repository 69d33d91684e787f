"""Inputs of the compiler child, and error messages made from its failures."""

import errno
import struct
import sys
from pathlib import Path

import pytest

from flowd_bpf.errors import PRIVILEGES, kernel_error
from flowd_bpf.load import bcc, compile, loader

VERIFIER = """\
bpf: Failed to load program: Permission denied
12: (71) r1 = *(u8 *)(r2 +54)
invalid access to packet, off=54 size=1, R2(id=0,off=54,r=42)
processed 13 insns (limit 1000000) max_states_per_insn 0 total_states 0
HINT: something else
"""

CLANG = """\
parse.h:12:1: warning: unused
flow.c:40:9: error: implicit declaration of function 'htons' is invalid in C99
1 error generated.
"""


def test_verifier_message_is_the_line_that_explains() -> None:
    error = loader.failure("load", "flowd_in", "Failed to load: Invalid argument", VERIFIER)
    assert error.message == (
        "the verifier refused program flowd_in: "
        "invalid access to packet, off=54 size=1, R2(id=0,off=54,r=42)"
    )


def test_compile_error_names_file_and_line() -> None:
    error = loader.failure("compile", "flow.c", "Failed to compile", CLANG)
    assert "flow.c:40:9: error: implicit declaration of function 'htons'" in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("stage", ["compile", "load"])
def test_missing_privileges_are_named(stage: str) -> None:
    said = "could not open bpf map: flowd_events, error: Operation not permitted\n"
    error = loader.failure(stage, "flowd_in", "Operation not permitted", said)
    assert error.hint == PRIVILEGES
    assert loader.failure("compile", "flow.c", "Failed to compile", said).hint == PRIVILEGES


def test_failure_without_words_still_says_something() -> None:
    assert loader.failure("load", "flowd_in", "no idea", "").message.endswith("no idea")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "not permitted"),
        (errno.ENOSYS, "does not support"),
        (524, "does not support"),
        (errno.ENOMEM, "no memory"),
        (errno.EBUSY, "device or resource busy"),
    ],
)
def test_kernel_errors_read_well(number: int, words: str) -> None:
    assert kernel_error("cannot", number).message.startswith("cannot: ")
    assert words in kernel_error("cannot", number).message


def test_includes_become_one_text_with_their_lines() -> None:
    text = compile.inline_includes(loader.folder("src"), "flow.c", set())
    assert '#include "' not in text
    assert text.count("enum flow_reason {") == 1
    lines = text.splitlines()
    at = lines.index("int flowd_in(struct __sk_buff *skb)")
    marker = max(n for n in range(at) if lines[n].startswith("#line "))
    number, name = lines[marker].split()[1:]
    source = (loader.folder("src") / name.strip('"')).read_text().splitlines()
    assert source[int(number) + at - marker - 2] == lines[at]


def test_calls_of_the_placeholder_become_calls_of_the_function() -> None:
    helper = struct.pack("=BBhi", 0x85, 0, 0, 5)
    placeholder = struct.pack("=BBhi", 0x85, 0, 0, compile.KFUNC_CALL)
    constant = struct.pack("=BBhi", 0xB7, 0, 0, compile.KFUNC_CALL)
    code = compile.call_function(helper + placeholder + constant, 65486)
    assert code == helper + struct.pack("=BBhi", 0x85, 0x20, 0, 65486) + constant


def test_unit_without_the_function_keeps_its_other_defines() -> None:
    unit = {"source": "drops.c", "defines": {"KFUNC_CAST": 1, "OFF": 2}, "function": 7, "attach": 8}
    reduced = compile.without_function(unit)
    assert reduced == {"source": "drops.c", "defines": {"OFF": 2}, "function": 0, "attach": 8}


def test_bcc_is_found_by_file(tmp_path: Path) -> None:
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").touch()
    with pytest.raises(bcc.MissingBcc):
        bcc.find_bcc((str(package),))
    (package / "libbcc.py").touch()
    assert bcc.find_bcc((str(package),)) == package


def test_strangers_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(bcc.MissingBcc, match="PyPI's unrelated bcc"):
        bcc.find_bcc(())
    assert bcc.unrelated_bcc() == package


def test_ticks_are_a_usual_rate() -> None:
    assert loader.ticks_per_second() in range(24, 1201)
