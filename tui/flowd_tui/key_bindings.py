"""Key bindings of `flowd top`: the table of keys and actions, also shown by footer and help."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """One action and the keys bound to it; `TopApp.do_<id>` performs it; `view_<name>` shows a view.

    Attributes:
        id: name of the action, also Textual's id of the binding.
        keys: Textual's names of the keys.
        shown: the keys as help and footer write them.
        label: one or two words for the footer.
        tooltip: description for the help.
        view: id of the only view that has the action; "" for all views.
        footer: rank in the footer, 1 is dropped last; 0 leaves it out.
    """

    id: str
    keys: tuple[str, ...]
    shown: str
    label: str
    tooltip: str
    view: str = ""
    footer: int = 0


ACTIONS = (
    Action("view_flows", ("1",), "1", "Flows", "show every flow, newest first"),
    Action("view_gateways", ("2",), "2", "Gateways", "show traffic by gateway, route and backend"),
    Action("next_view", ("tab", "shift+tab"), "tab", "next view", "go to the other view"),
    Action("down", ("down", "j"), "j ↓", "down", "go down one row"),
    Action("up", ("up", "k"), "k ↑", "up", "go up one row"),
    Action("page_down", ("pagedown", "ctrl+f"), "pgdn ctrl+f", "page down", "go down one page"),
    Action("page_up", ("pageup", "ctrl+b"), "pgup ctrl+b", "page up", "go up one page"),
    Action("first", ("home", "g"), "g home", "first", "go to the first row"),
    Action("last", ("end", "G"), "G end", "last", "go to the last row"),
    Action("filter", ("slash",), "/", "filter", "filter rows, at once while you type", footer=1),
    Action("pause", ("space",), "space", "pause", "hold the screen still; receiving goes on",
           footer=2),
    Action("open", ("enter",), "enter", "open", "all about a flow; the flows of a gateway's row",
           footer=3),
    Action("back", ("escape",), "esc", "back", "close the detail, go back, clear the filter"),
    Action("fold", ("left",), "←", "fold", "fold a row, or go to the one above it",
           view="gateways", footer=4),
    Action("unfold", ("right",), "→", "unfold", "unfold a row", view="gateways", footer=5),
    Action("follow", ("f",), "f", "follow", "stay with the newest flow", view="flows", footer=4),
    Action("window", ("t",), "t", "window", "sum over 10s, 1m, 5m or 15m", view="gateways",
           footer=6),
    Action("sort_next", ("greater_than_sign",), ">", "sort", "sort by the next column", footer=7),
    Action("sort_previous", ("less_than_sign",), "<", "sort", "sort by the column before"),
    Action("reverse", ("r",), "r", "reverse", "turn the order around", footer=10),
    Action("lock", ("z",), "z", "lock order", "keep rows in the order they have now",
           view="gateways", footer=11),
    Action("detail", ("d",), "d", "detail", "show or hide the detail pane", footer=9),
    Action("copy", ("c",), "c", "copy", "copy the row", footer=8),
    Action("copy_command", ("C",), "C", "copy command",
           "copy the `flowd observe` command that shows the same", footer=12),
    Action("help", ("question_mark", "f1"), "?", "help", "show or hide this help"),
    Action("quit", ("q", "ctrl+c"), "q", "quit", "leave"),
    Action("suspend", ("ctrl+z",), "ctrl+z", "suspend", "stop until the shell's `fg`"),
)  # fmt: skip

BY_ID = {action.id: action for action in ACTIONS}
VIEW_ACTION = "view_"
VIEW_NAMES = tuple(
    action.id.removeprefix(VIEW_ACTION) for action in ACTIONS if action.id.startswith(VIEW_ACTION)
)
"""Names of the views, in the order of their keys; `flowd_tui.views.VIEWS` makes them."""


def key_table() -> list[tuple[str, str]]:
    """Keys as people write them and their description, in the order of ACTIONS, for the help."""
    return [
        (action.shown, action.tooltip + (f" ({action.view})" if action.view else ""))
        for action in ACTIONS
    ]
