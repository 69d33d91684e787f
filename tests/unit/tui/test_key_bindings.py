"""Table of actions: every key is described, bound once in a view, and has a method."""

import shlex

from textual.binding import Binding

from flowd.commands.observe import command
from flowd_tui.app import HELP_ACTIONS, TopApp
from flowd_tui.key_bindings import ACTIONS, BY_ID, VIEW_ACTION, VIEW_NAMES
from flowd_tui.views import VIEWS
from flowd_tui.views.base import ViewQuery
from flowd_tui.views.flows import FlowsView
from flowd_tui.views.gateways import GatewaysView
from tests.fakes.top_screen import filled_store


def test_every_action_is_named_and_explained() -> None:
    assert len(BY_ID) == len(ACTIONS)
    for action in ACTIONS:
        assert action.keys
        assert action.shown
        assert action.label
        assert len(action.tooltip) >= 4


def test_no_key_does_two_things_in_one_view() -> None:
    for view in VIEW_NAMES:
        keys = [key for a in ACTIONS if a.view in ("", view) for key in a.keys]
        assert len(keys) == len(set(keys))


def test_the_footer_has_an_order_in_every_view() -> None:
    for view in VIEW_NAMES:
        places = [a.footer for a in ACTIONS if a.footer and a.view in ("", view)]
        assert len(places) == len(set(places))


def test_every_action_is_done_by_a_method_and_every_method_has_a_key() -> None:
    methods = {name.removeprefix("do_") for name in dir(TopApp) if name.startswith("do_")}
    assert methods == {action for action in BY_ID if not action.startswith(VIEW_ACTION)}
    assert set(VIEW_NAMES) == set(VIEWS)
    assert set(HELP_ACTIONS) <= set(BY_ID)


def test_bindings_can_be_remapped_and_carry_their_help() -> None:
    bindings = [b for b in TopApp.BINDINGS if isinstance(b, Binding)]
    assert {b.id for b in bindings} == set(BY_ID)
    assert all(b.tooltip and b.description for b in bindings)


def test_copied_commands_are_commands_of_observe() -> None:
    store = filled_store()
    flows, gateways, snapshot = FlowsView(), GatewaysView(), store.snapshot()
    copied = {flows.observe_command(row) for row in flows.rows(snapshot, ViewQuery())}
    copied |= {gateways.observe_command(row) for row in gateways.rows(snapshot, ViewQuery())}
    assert len(copied) > 20
    known = {option for parameter in command.params for option in parameter.opts}
    for line in copied:
        words = shlex.split(line)
        assert words[:2] == ["flowd", "observe"]
        assert {word for word in words if word.startswith("--")} <= known
