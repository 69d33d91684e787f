"""`python deploy/demo`, or `python -m demo` with deploy/ on the path."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from demo.cli import main

sys.exit(main())
