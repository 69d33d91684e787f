"""Hypothesis: no limit on the clock; under CI the same examples every time."""

import os

from hypothesis import settings

settings.register_profile("flowd", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("flowd")
