"""The compiler child: C in, file descriptors out.

Run as `python -I compile.py SOCKET BCC SOURCES HEADERS NAME=VALUE...`. It needs the standard
library and BCC only, and answers on the socket with one JSON message: `{"programs": [...],
"maps": [...]}` with the descriptors beside it (SCM_RIGHTS), in this order, or `{"failed": stage,
"name": ..., "detail": ...}`. What clang and the verifier have to say goes to stderr.
"""

import importlib.util
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

PROGRAMS = ("flowd_in", "flowd_out", "flowd_in_raw", "flowd_out_raw", "flowd_clock")
MAPS = ("flowd_conns", "flowd_endpoints", "flowd_counters", "flowd_events")
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


def build(bcc: Any, sources: Path, defines: list[str]) -> tuple[dict[str, Any], list[int]]:
    """Compile and load: the answer, and the descriptors that go with it."""
    flags = [*FLAGS, *(f"-D{define}" for define in defines)]
    try:
        text = expand(sources, "flow.c", set())
        module = bcc.BPF(text=text.encode(), cflags=flags)
    except Exception as error:  # noqa: BLE001 (BCC raises nothing narrower)
        return {"failed": "compile", "name": "flow.c", "detail": str(error)}, []
    descriptors: list[int] = []
    for name in PROGRAMS:
        try:
            descriptors.append(module.load_func(name.encode(), bcc.BPF.SCHED_CLS).fd)
        except Exception as error:  # noqa: BLE001
            return {"failed": "load", "name": name, "detail": str(error)}, []
    descriptors += [module[name.encode()].map_fd for name in MAPS]
    return {"programs": PROGRAMS, "maps": MAPS}, descriptors


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
        answer, descriptors = {"failed": "bcc", "name": "bcc", "detail": str(error)}, []
    else:
        answer, descriptors = build(bcc, Path(arguments[2]), arguments[4:])
    socket.send_fds(channel, [json.dumps(answer).encode()], descriptors)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
