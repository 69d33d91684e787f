"""Style of printed flows: names, time format, ANSI colours, and cleaning of untrusted text."""

from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from flowd.observe.options.times import format_time
from flowd.text import printable

_LIMIT = 64 << 10
_VERDICTS = {
    "FORWARDED": 32,
    "REDIRECTED": 32,
    "ALLOWED": 32,
    "DROPPED": 31,
    "ERROR": 31,
    "DENIED": 31,
    "AUDIT": 33,
    "AUDITED": 33,
    "TRACED": 33,
    "TRANSLATED": 33,
}


@dataclass(frozen=True, slots=True)
class Paint:
    """Wraps text in ANSI colours (SGR) if `on`."""

    on: bool = False

    def _sgr(self, code: int, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text

    def host(self, text: str) -> str:
        return self._sgr(36, text)

    def port(self, text: str) -> str:
        return self._sgr(33, text)

    def identity(self, text: str) -> str:
        return self._sgr(35, text)

    def verdict(self, name: str, text: str) -> str:
        """`text` in the colour of the verdict `name`."""
        return self._sgr(_VERDICTS[name], text) if name in _VERDICTS else text

    def authentication(self, name: str) -> str:
        return self._sgr(32 if name == "SPIRE" else 31, name)

    def route(self, text: str) -> str:
        return self._sgr(34, text)


@dataclass(frozen=True, slots=True)
class Style:
    """Values of the flags that change how flows are printed, such as --time-format and --color."""

    names: bool = True
    node_name: bool = False
    policy_names: bool = False
    time_format: str = "StampMilli"
    debug: bool = False
    paint: Paint = field(default_factory=Paint)

    def time(self, stamp: Timestamp | None) -> str:
        """A time in `time_format`, or `N/A` for None."""
        return format_time(stamp.seconds, stamp.nanos, self.time_format) if stamp else "N/A"


def clean(text: str) -> str:
    """Make untrusted text printable for a terminal; a carriage return becomes `\\r`."""
    return printable(text.replace("\r", "\\r"), _LIMIT)
