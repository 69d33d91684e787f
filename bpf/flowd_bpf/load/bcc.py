"""Finding BCC: by file, so that PyPI's unrelated package of the same name can never answer.

Standard library only, as the compiler child loads this module by file too.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

PLACES = ("/usr/lib/python3/dist-packages/bcc", "/usr/lib/python3*/site-packages/bcc")
INSTALL = "apt-get install python3-bpfcc (Fedora: python3-bcc); never `pip install bcc`"


class MissingBcc(Exception):
    """BCC is not installed, or something else is in its place."""


def find_bcc(places: tuple[str, ...] = PLACES) -> Path:
    """Folder of the distribution's BCC package; `places` are absolute globs, the first one wins.

    Raises:
        MissingBcc: it is nowhere.
    """
    for place in places:
        for folder in sorted(Path("/").glob(place.lstrip("/"))):
            if is_bcc(folder):
                return folder
    if stranger := unrelated_bcc():
        raise MissingBcc(f"{stranger} is PyPI's unrelated bcc, not the BPF Compiler Collection")
    raise MissingBcc("BCC is not installed")


def is_bcc(folder: Path) -> bool:
    """Whether a package named bcc is the BPF Compiler Collection."""
    return (folder / "__init__.py").is_file() and (folder / "libbcc.py").is_file()


def unrelated_bcc() -> Path | None:
    """Folder of a package named bcc on this Python's path that is not BCC."""
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or is_bcc(Path(spec.origin).parent):
        return None
    return Path(spec.origin).parent


def load_bcc(folder: Path | None = None) -> ModuleType:
    """Import BCC from its folder (found when not given); LLVM comes into this process with it.

    Raises:
        MissingBcc: it is not there, or its shared library is not.
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
