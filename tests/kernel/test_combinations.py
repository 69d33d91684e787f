"""The verifier accepts the programs with every pair of compile-time switches."""

import itertools

from tests.kernel.combinations import SWITCHES, defines, pairwise, product, refused


def test_pairs_are_covered_by_few() -> None:
    chosen = pairwise()
    sizes = [len(values) for values in SWITCHES.values()]
    assert len(chosen) < len(product()) // 10
    for (a, first), (b, second) in itertools.combinations(enumerate(sizes), 2):
        seen = {(choice[a], choice[b]) for choice in chosen}
        assert seen == set(itertools.product(range(first), range(second)))


def test_every_pair_of_switches_loads() -> None:
    assert refused(pairwise()) == []


def test_nothing_but_the_defaults_is_compiled_by_default() -> None:
    assert defines(product()[0]) == {}
