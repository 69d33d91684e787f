"""A short run of `make fuzz` with the same inputs every time."""

import random
from pathlib import Path

import pytest

from flowd.text import safe_json
from tests.fuzz.decoders import SEEDS, corpus, decoders
from tests.fuzz.mutate import mutated

INPUTS = 150
NAMES = (
    "als",
    "json",
    "text",
    "otlp",
    "wrapped",
    "flows",
    "framed-als",
    "framed-otlp",
    "recording",
)


@pytest.mark.parametrize("name", NAMES)
def test_mutations_make_no_decoder_fail(name: str, tmp_path: Path) -> None:
    decode = decoders(tmp_path)[name]
    seeds, rng = corpus(name), random.Random(name)
    for data in [*seeds, *(mutated(rng, seeds) for _ in range(INPUTS))]:
        decode(data)


def test_every_decoder_and_every_seed_is_used(tmp_path: Path) -> None:
    assert tuple(decoders(tmp_path)) == NAMES
    assert {path.name.partition(".")[0] for path in SEEDS.iterdir()} <= {*NAMES, "flow"}


def test_json_is_the_same_data_without_what_a_terminal_would_obey() -> None:
    assert safe_json(b'{"a":"b"}') == b'{"a":"b"}'
    text = '{"a":"\x7f\x9b\u202e\U000e0041é"}'
    assert safe_json(text.encode()) == '{"a":"\\u007f\\u009b\\u202e\\udb40\\udc41é"}'.encode()
