"""Compiling on one machine what another one loads.

An emulated machine needs minutes for what LLVM does here in a second. There BCC is replaced by
`bcc/`, which writes what it is to compile into a folder that both see, waits for the answer, and
makes the maps and loads the programs itself, so that the kernel there still verifies all of it.
"""

import os
from pathlib import Path

FOLDER = "FLOWD_TEST_OBJECTS"
"""The environment's name for the folder."""


def stand_in() -> Path | None:
    """What stands in for BCC's package here; None where BCC compiles."""
    return Path(__file__).parent / "bcc" if FOLDER in os.environ else None
