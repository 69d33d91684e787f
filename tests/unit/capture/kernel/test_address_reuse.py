"""Addresses that get a new owner, and the connections of the former owner."""

import numpy as np
import pytest

from flowd.capture.kernel import address_reuse
from flowd.capture.kernel.address_reuse import AddressReuse, of_former_owners
from flowd.model.address import pack
from flowd.model.directory import Directory
from flowd.model.endpoint import Endpoint, EndpointKind
from flowd_bpf.layout import CONNECTION

HERE, THERE = pack("10.0.0.1"), pack("10.0.0.2")


def pod(directory: Directory, name: str, *labels: str) -> int:
    return directory.endpoints.index(Endpoint(EndpointKind.POD, 300, "team", name, labels))


def test_only_another_holder_is_a_move() -> None:
    directory = Directory()
    one, labelled, two = (pod(directory, *args) for args in (("a",), ("a", "k8s:x=y"), ("b",)))
    reuse = AddressReuse(directory)
    assert reuse.update({HERE: one}) == {}
    assert reuse.update({HERE: labelled}) == {}
    assert reuse.update({HERE: two, THERE: one}) == {HERE: two}
    assert reuse.update({HERE: 0}) == {}
    assert reuse.update({HERE: two}) == {}
    assert reuse.update({HERE: 0, THERE: 0}) == {}
    assert reuse.update({HERE: 0}) == {}
    assert reuse.update({HERE: one, THERE: one}) == {HERE: one}


def test_former_holders_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Directory()
    one, two = pod(directory, "a"), pod(directory, "b")
    reuse = AddressReuse(directory)
    many = {pack(f"10.1.{n // 256}.{n % 256}"): one for n in range(300)}
    monkeypatch.setattr(address_reuse, "MAX_FORMER", 256)
    reuse.update(many)
    reuse.update(dict.fromkeys(many, 0))
    again = reuse.update(dict.fromkeys(many, two))
    assert len(again) == 256


def test_entries_of_former_holders() -> None:
    entries = np.zeros(4, CONNECTION)
    here, there = (np.frombuffer(address, "u1") for address in (HERE, THERE))
    addresses = entries["key"]["addr"]
    addresses[:, 0], addresses[:, 1] = here, there
    addresses[3, 0] = there
    entries["endpoint"] = [(1, 9), (2, 9), (0, 9), (1, 9)]
    assert of_former_owners({HERE: 2}, entries).tolist() == [True, False, False, False]
    assert of_former_owners({HERE: 2, THERE: 8}, entries).tolist() == [True] * 4
