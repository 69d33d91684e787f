"""Write the picture and the table of rooms in docs/architecture.md from the real imports.

python tools/docs_rooms.py            # write
python tools/docs_rooms.py --check    # fail when the page is out of date
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.rooms import Arrows, House, reduced

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: made by `make docs` -->\n", "<!-- end of rooms -->\n"
EVERYWHERE = {"flowd", "flowd.__main__", "flowd.errors", "flowd.text"}
"""Leaves that almost every room imports: left out of the picture."""


def picture(floors: Arrows) -> str:
    """A mermaid graph of top-level rooms; an arrow that others imply is left out."""
    arrows = {
        room: imported - EVERYWHERE for room, imported in floors.items() if room not in EVERYWHERE
    }
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"  {_id(room)}[{_name(room)}]" for room in sorted(arrows)]
    lines += [
        f"  {_id(room)} --> {_id(each)}"
        for room, imported in sorted(reduced(arrows).items())
        for each in sorted(imported)
    ]
    return "\n".join([*lines, "```", ""])


def table(house: House) -> str:
    """A row a room: its sign, its number of modules, and the rooms that it imports."""
    lines = ["| room | what lives there | modules | imports |", "| --- | --- | --- | --- |"]
    for room in sorted(house.rooms.keys() - EVERYWHERE):
        imported = sorted(house.rooms[room] - EVERYWHERE)
        names = ", ".join(f"`{_name(each)}`" for each in imported) or "nothing of ours"
        sign = house.sign(room).replace("|", "\\|")
        lines.append(f"| `{_name(room)}` | {sign} | {house.sizes[room]} | {names} |")
    return "\n".join([*lines, ""])


def page(text: str, house: House) -> str:
    """The page with the part between the marks made anew.

    Raises:
        ValueError: a mark is missing.
    """
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError(f"{PAGE.name} lacks the marks of the table of rooms")
    return f"{before}{BEGIN}\n{picture(house.floors())}\n{table(house)}\n{END}{after}"


def _name(room: str) -> str:
    """The room as the page names it: `flowd.` left out, the other packages as they are."""
    return room.removeprefix("flowd.")


def _id(room: str) -> str:
    return room.replace(".", "_")


def main() -> None:
    text = PAGE.read_text()
    made = page(text, House())
    if "--check" not in sys.argv:
        PAGE.write_text(made)
    elif made != text:
        print("docs/architecture.md is out of date: run `make docs`", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
