"""Bounded YAML parser: values as in the Kubernetes API, and every bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yaml import safe_dump

from flowd.kubernetes.yaml import MAX_DEPTH, BadYaml, documents


def read(text: str) -> list[object]:
    return [value for _, value in documents(text.encode())]


def test_values_are_those_of_the_api() -> None:
    text = """
a: 2026-11-21T00:00:00Z
b: "2"
c: 2
d: yes
e: True
f: ~
g:
h: 1.5
i: 12:30
j: 0x10
k: !!str 7
"""
    assert read(text) == [
        {
            "a": "2026-11-21T00:00:00Z",
            "b": "2",
            "c": 2,
            "d": "yes",
            "e": True,
            "f": None,
            "g": None,
            "h": 1.5,
            "i": "12:30",
            "j": "0x10",
            "k": "7",
        }
    ]


def test_documents_come_with_their_lines_and_empty_ones_are_left_out() -> None:
    found = list(documents(b"a: 1\n---\n# nothing\n---\nb: 2\n"))
    assert found == [(1, {"a": 1}), (4, {"b": 2})]


def test_anchors_and_merge_keys() -> None:
    text = """
base: &base {x: 1, y: 2}
one: {<<: *base, y: 3}
two: {<<: [{x: 7}, *base]}
same: *base
"""
    assert read(text) == [
        {
            "base": {"x": 1, "y": 2},
            "one": {"x": 1, "y": 3},
            "two": {"x": 7, "y": 2},
            "same": {"x": 1, "y": 2},
        }
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "did not find"),
        ("a: 1\n  b: 2\n", 2, "mapping values"),
        ("a: *nothing\n", 1, "no anchor"),
        ("a: &a [*a]\n", 1, "no anchor"),
        ("? [1]\n: 2\n", 2, "used as a key"),
        ("a: {<<: 3}\n", 1, "<< needs"),
    ],
)
def test_what_does_not_parse_says_where(text: str, line: int, words: str) -> None:
    with pytest.raises(BadYaml, match=words) as caught:
        read(text)
    assert abs(caught.value.line - line) <= 1


@pytest.mark.parametrize("data", [b"a: \xff\xfe\xff", b"a: \x00", b"\xef\xbb\xbf\x07"])
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(BadYaml):
        list(documents(data))


def test_an_alias_bomb_is_refused() -> None:
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        refs = ", ".join([f"*l{level - 1}"] * 10)
        levels.append(f"l{level}: &l{level} [{refs}]")
    with pytest.raises(BadYaml, match="aliases included"):
        read("\n".join(levels))


def test_a_merge_bomb_is_refused() -> None:
    levels = ["l0: &l0 {a: 1}"]
    for level in range(1, 30):
        refs = ", ".join([f"*l{level - 1}"] * 10)
        levels.append(f"l{level}: &l{level} {{<<: [{refs}], k{level}: 1}}")
    with pytest.raises(BadYaml, match="aliases included"):
        read("\n".join(levels))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(opening: str) -> None:
    with pytest.raises(BadYaml, match="nested deeper"):
        read(opening * (MAX_DEPTH * 4))


_text = st.text("abcxyz :-#'\"é\n[]{}&*!?|>%@", max_size=8)
_scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _text
_trees = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner),
    max_leaves=12,
)


@given(st.dictionaries(_text, _trees, min_size=1))
def test_reads_what_a_yaml_library_writes(tree: dict[str, object]) -> None:
    assert read(safe_dump(tree)) == [tree]


def test_keys_are_text() -> None:
    assert read("{1: a, true: b, null: c, 1.0: d}") == [
        {"1": "a", "true": "b", "null": "c", "1.0": "d"}
    ]


@given(
    st.binary(max_size=60)
    | st.text("[]{}:-&*!?<|>'\"\\#%@` \n\tab0.u", max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    message = "read"
    try:
        list(documents(data))
    except BadYaml as error:
        message = error.message
    assert message
