"""Packets, bytes and connections equal /proc/net/dev, `ss -i` and conntrack on every path.

`make accuracy` runs the same with more traffic and writes docs/accuracy.md.
"""

import pytest

from tests.kernel.accuracy import check, measure, plan
from tests.kernel.paths_all import SELDOM, USUAL, Makes


@pytest.mark.parametrize(
    ("name", "gso"), [("bridge", True), ("VXLAN", True), ("routed", True), ("routed", False)]
)
async def test_figures_are_those_of_the_kernel(name: str, gso: bool) -> None:
    with USUAL[name](gso=gso) as path:
        check(await measure(path, plan(path, 2, 100_000)))


@pytest.mark.parametrize("gso", [False, True], ids=["no gso", "gso"])
@pytest.mark.parametrize("makes", SELDOM.values(), ids=SELDOM)
async def test_figures_over_what_not_every_kernel_has(makes: Makes, gso: bool) -> None:
    with makes(gso=gso) as path:
        check(await measure(path, plan(path, 2, 100_000)))
