"""Splitting of lists and watches into objects, for arbitrary chunks."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd.kubernetes.api.stream import LineSplitter, ListItems, ListTooLarge

TEXT = st.text(alphabet='a"\\{}[],:é\n ', max_size=8)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ITEM = st.dictionaries(TEXT, VALUE, max_size=4)
META = st.dictionaries(TEXT | st.just("items"), VALUE, max_size=3)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[low:high] for low, high in pairwise(edges)]


@given(
    items=st.lists(ITEM, max_size=4),
    meta=META,
    cuts=st.lists(st.integers(0, 10_000), max_size=6),
    first=st.booleans(),
    indent=st.sampled_from([None, 2]),
)
def test_items_are_those_of_the_json(
    items: list[dict[str, Any]],
    meta: dict[str, Any],
    cuts: list[int],
    first: bool,
    indent: int | None,
):
    body = {"items": items, "metadata": meta} if first else {"metadata": meta, "items": items}
    data = json.dumps({**body, "kind": "List"}, indent=indent, ensure_ascii=False).encode()
    splitter = ListItems(1 << 20)
    found = [json.loads(item) for piece in pieces(data, cuts) for item in splitter.feed(piece)]
    assert found == items
    assert json.loads(splitter.rest) == {**body, "items": [], "kind": "List"}


def test_one_byte_at_a_time():
    items = [{"a": '\\"}]'}, {"b": [{"c": "\\\\"}]}]
    splitter = ListItems(1 << 20)
    data = json.dumps({"items": items, "metadata": {"resourceVersion": "7"}}).encode()
    found = [item for at in range(len(data)) for item in splitter.feed(data[at : at + 1])]
    assert [json.loads(item) for item in found] == items
    assert json.loads(splitter.rest)["metadata"] == {"resourceVersion": "7"}


def test_an_item_over_the_limit_is_dropped_and_its_neighbours_are_not():
    items = [{"a": 1}, {"huge": "x" * 500}, {"b": 2}]
    splitter = ListItems(100)
    data = json.dumps({"items": items}).encode()
    found = [item for piece in pieces(data, [60, 90, 300]) for item in splitter.feed(piece)]
    assert [json.loads(item) for item in found] == [{"a": 1}, {"b": 2}]
    assert splitter.dropped == 1


def test_what_is_no_list_is_bounded():
    splitter = ListItems(100)
    with pytest.raises(ListTooLarge):
        splitter.feed(b'{"metadata": "' + b"x" * 200)


@given(
    lines=st.lists(st.binary(min_size=1, max_size=6).filter(lambda b: b"\n" not in b), max_size=5),
    cuts=st.lists(st.integers(0, 100), max_size=5),
)
def test_lines_end_with_a_newline(lines: list[bytes], cuts: list[int]):
    data = b"".join(line + b"\n" for line in lines) + b"cut off"
    splitter = LineSplitter(100)
    assert [line for piece in pieces(data, cuts) for line in splitter.feed(piece)] == lines


def test_a_line_over_the_limit_is_dropped_and_its_neighbours_are_not():
    splitter = LineSplitter(10)
    found = splitter.feed(b"one\n" + b"x" * 8) + splitter.feed(b"x" * 8 + b"\ntwo\n")
    assert found == [b"one", b"two"]
    assert splitter.dropped == 1
