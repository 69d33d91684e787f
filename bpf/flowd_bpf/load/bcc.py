"""Find and import BCC by file path, so that PyPI's unrelated package `bcc` is never imported.

Standard library only: the compiler child loads this module by file.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

LOCATIONS = ("/usr/lib/python3/dist-packages/bcc", "/usr/lib/python3*/site-packages/bcc")
INSTALL = "apt-get install python3-bpfcc (Fedora: python3-bcc); never `pip install bcc`"


class MissingBcc(Exception):
    """BCC is not installed, or an unrelated package has its name."""


def find_bcc(places: tuple[str, ...] = LOCATIONS) -> Path:
    """Folder of the distribution's BCC package.

    Args:
        places: absolute globs in order of preference.

    Raises:
        MissingBcc: no glob matches it.
    """
    for place in places:
        for folder in sorted(Path("/").glob(place.lstrip("/"))):
            if is_bcc(folder):
                return folder
    if stranger := unrelated_bcc():
        raise MissingBcc(f"{stranger} is PyPI's unrelated bcc, not the BPF Compiler Collection")
    raise MissingBcc("BCC is not installed")


def is_bcc(folder: Path) -> bool:
    """Whether the folder of a package `bcc` is the BPF Compiler Collection."""
    return (folder / "__init__.py").is_file() and (folder / "libbcc.py").is_file()


def unrelated_bcc() -> Path | None:
    """Folder of a package `bcc` on sys.path that is not the BPF Compiler Collection."""
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or is_bcc(Path(spec.origin).parent):
        return None
    return Path(spec.origin).parent


def load_bcc(folder: Path | None = None) -> ModuleType:
    """Import BCC from its folder, by default the one found; this loads LLVM into the process.

    Raises:
        MissingBcc: BCC or its shared library is not installed.
    """
    folder = folder or find_bcc()
    spec = importlib.util.spec_from_file_location(
        "bcc", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:
        raise MissingBcc(f"{folder} does not load: {error}") from None
    return module
