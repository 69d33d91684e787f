"""Generate Python modules for every .proto under flowd/wire (`make proto`).

`flow/flow.proto` becomes `flowd.wire.flow.flow_pb2`; the descriptor keeps the file name
`flow/flow.proto`, which is what gRPC reflection and other programs know it by.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIRE = ROOT / "flowd" / "wire"
PACKAGE = "flowd.wire"


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate flowd/wire/**/*_pb2.py and .pyi.")
    parser.add_argument("--check", action="store_true", help="only compare, write nothing")
    check: bool = parser.parse_args().check
    wanted = generate(WIRE)
    stale = [path for path in generated(WIRE) if path not in wanted]
    differing = [path for path, text in wanted.items() if read(WIRE / path) != text]
    if check:
        if stale or differing:
            names = ", ".join(f"flowd/wire/{path}" for path in sorted([*stale, *differing]))
            print(f"proto: out of date: {names}; run `make proto`", file=sys.stderr)
            return 1
        return 0
    for path in stale:
        (WIRE / path).unlink()
    for path in differing:
        (WIRE / path).write_text(wanted[path])
        print(f"proto: wrote flowd/wire/{path}")
    return 0


def generate(wire: Path) -> dict[str, str]:
    """Generate the text of every file by its path below wire.

    Raises:
        SystemExit: protoc refused a file; its own message says where.
    """
    protos = sorted(path.relative_to(wire).as_posix() for path in wire.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as out:
        protoc = [sys.executable, "-m", "grpc_tools.protoc", "-I."]
        outputs = [f"--python_out={out}", f"--pyi_out={out}"]
        run = subprocess.run([*protoc, *outputs, *protos], cwd=wire, check=False)
        if run.returncode:
            raise SystemExit(run.returncode)
        files = {path: (Path(out) / path).read_text() for path in generated(Path(out))}
    folders = {path.rpartition("/")[0] for path in protos}
    own = "|".join(sorted(re.escape(folder.replace("/", ".")) for folder in folders))
    texts = {path: relocate(text, own) for path, text in files.items()}
    return texts | {f"{folder}/__init__.py": "" for folder in folders}


def relocate(text: str, own: str) -> str:
    """The text with imports of, and its own name in, the packages `own` below PACKAGE.

    The stubs' bare `Mapping` gets its arguments, which strict type checkers ask for.
    """
    imports = rf"(?m)^from ((?:{own})(?:\.\w+_pb2)?) import "
    text = re.sub(imports, rf"from {PACKAGE}.\1 import ", text)
    name = rf"(BuildTopDescriptorsAndMessages\(DESCRIPTOR, ')((?:{own})\.)"
    text = re.sub(name, rf"\1{PACKAGE}.\2", text)
    return re.sub(r"\b_Mapping(?=[,\]])", "_Mapping[str, object]", text)


def generated(folder: Path) -> list[str]:
    """List the files that protoc made, as paths below the folder."""
    files = [*folder.rglob("*_pb2.py"), *folder.rglob("*_pb2.pyi")]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
