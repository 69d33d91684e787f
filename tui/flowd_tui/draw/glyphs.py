"""Special characters of the screen, in UTF-8 and in ASCII."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of characters; `levels` are the steps of a sparkline, from zero to the maximum."""

    ascii: bool
    levels: str
    to: str
    reply: str
    ok: str
    bad: str
    warn: str
    unfolded: str
    folded: str
    down: str
    up: str
    line: str
    tee: str
    bar: str
    more: str
    enter: str
    sides: str

    def text(self, text: str) -> str:
        """Text in the characters of this set: in ASCII every other character becomes `?`."""
        return text.encode("ascii", "replace").decode() if self.ascii else text


UTF8 = Glyphs(
    ascii=False,
    levels=" ▁▂▃▄▅▆▇█",
    to="→",
    reply="←",
    ok="✓",
    bad="✗",
    warn="!",
    unfolded="▼",
    folded="▶",
    down="▼",
    up="▲",
    line="─",
    tee="┬",
    bar="│",
    more="…",
    enter="⏎",
    sides="←→",
)

ASCII = Glyphs(
    ascii=True,
    levels=" .:-=+*#@",
    to=">",
    reply="<",
    ok="+",
    bad="x",
    warn="!",
    unfolded="v",
    folded=">",
    down="v",
    up="^",
    line="-",
    tee="+",
    bar="|",
    more="~",
    enter="enter",
    sides="left/right",
)
