"""Fuzzing of every decoder of untrusted input, from a new seed each time.

    python -m tests.fuzz [MINUTES [DECODER...]]

An input that makes a decoder raise is written to a file; its name and the seed are printed.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.decoders import Decoder, corpus, decoders
from tests.fuzz.mutate import mutated


def main(arguments: list[str]) -> int:
    """Fuzz each decoder for MINUTES; returns the exit code."""
    minutes = float(arguments[0]) if arguments else 5.0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        every = decoders(Path(folder))
        for name in arguments[1:] or every:
            failed += not fuzz(name, every[name], minutes * 60)
    return 1 if failed else 0


def fuzz(name: str, decode: Decoder, seconds: float) -> bool:
    """Fuzz one decoder for some seconds; returns whether it never raised."""
    seed = random.SystemRandom().randrange(1 << 32)
    rng, seeds = random.Random(seed), corpus(name)
    ends, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        data = mutated(rng, seeds)
        count += 1
        try:
            decode(data)
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            with tempfile.NamedTemporaryFile(prefix=f"{name}-", delete=False) as file:
                file.write(data)
            print(f"{name}: {error!r} after {count:,} inputs of seed {seed}: {file.name}")
            return False
    print(f"{name}: {count:,} inputs of seed {seed}, none made it fail")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
