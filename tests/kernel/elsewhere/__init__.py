"""Compile on the host, load in an emulated guest.

LLVM takes a second on the host and minutes in the guest. There `bcc/` replaces BCC: it writes the
source into a shared folder, waits for the host's answer, creates the maps and loads the programs
itself. So the guest's kernel still verifies all of them.
"""

import os
from pathlib import Path

FOLDER = "FLOWD_TEST_OBJECTS"
"""Environment variable with the path of the shared folder."""


def stand_in() -> Path | None:
    """Folder of the stand-in for BCC on a guest; None on a machine where BCC compiles."""
    return Path(__file__).parent / "bcc" if FOLDER in os.environ else None
