"""Selection of interfaces by globs."""

import pytest

from flowd_bpf.attach.interfaces import matches


@pytest.mark.parametrize(
    ("name", "globs", "selected"),
    [
        ("eth0", ["*"], True),
        ("lo", ["*"], False),
        ("lo", ["lo"], True),
        ("lo", ["lo*", "eth0"], True),
        ("lo", ["lo", "!lo"], False),
        ("eth0", ["veth*"], False),
        ("veth12", ["eth*", "veth*"], True),
        ("docker0", ["!docker*"], False),
        ("eth0", ["!docker*"], True),
        ("lo", ["!docker*"], False),
        ("veth1", ["veth*", "!veth1"], False),
        ("Veth1", ["veth*"], False),
    ],
)
def test_matches(name: str, globs: list[str], selected: bool) -> None:
    assert matches(name, globs) is selected
