"""Numeric identities: equal on all nodes, distinct for distinct workloads."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowd.identity.allocator import FIRST, LAST, IdentityAllocator, IdentityKey
from flowd.identity.host_addresses import host_addresses
from flowd.model.address import pack

KEYS = st.sets(st.tuples(st.text(max_size=4), st.text(max_size=4)), max_size=60)


def allot(keys: Iterable[IdentityKey]) -> dict[IdentityKey, int]:
    numbers = IdentityAllocator()
    numbers.update(list(keys), ())
    return numbers.by_key


@given(KEYS, st.randoms())
def test_numbers_do_not_depend_on_order(keys: set[tuple[str, ...]], random: object) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    found = allot(shuffled)
    assert found == allot(sorted(keys))
    assert len(set(found.values())) == len(keys)
    assert all(FIRST <= number <= LAST for number in found.values())


def test_a_number_stays_when_others_come() -> None:
    few = allot([("prod", "store", "Deployment", "shop")])
    many = allot([("prod", "store", "Deployment", "shop"), *(("x", str(n)) for n in range(50))])
    key = ("prod", "store", "Deployment", "shop")
    assert few[key] == many[key]


def test_equal_hashes_get_different_numbers() -> None:
    keys = [("c", str(n)) for n in range(4000)]
    found = allot(keys)
    assert len(set(found.values())) == len(keys)
    alone = {key: allot([key])[key] for key in keys}
    moved = [key for key in keys if alone[key] != found[key]]
    assert moved, "4000 hashes into 65280 numbers collide"
    first, second = next(
        (a, b)
        for a, b in pairwise(sorted(keys, key=lambda key: (alone[key], key)))
        if alone[a] == alone[b]
    )
    assert found[first] == alone[first]
    assert found[second] != alone[second]


def test_more_workloads_than_numbers_share() -> None:
    found = allot([("c", str(n)) for n in range(LAST - FIRST + 500)])
    assert len(found) == LAST - FIRST + 500
    assert max(found.values()) <= LAST


def test_this_machine_has_its_loopback_addresses() -> None:
    found = host_addresses()
    assert {pack("127.0.0.1"), pack("::1")} <= found
    assert all(len(address) == 16 for address in found)
