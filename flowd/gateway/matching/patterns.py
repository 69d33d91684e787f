"""Value matchers of headers, query parameters and paths: exact text or full RE2 match."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from flowd.errors import UnsupportedError

Predicate: TypeAlias = Callable[[str], bool]

_REGEX_BYTES = 1 << 20


class BadPattern(ValueError):
    """A regular expression that RE2 rejects."""


@lru_cache(4096)
def full_match(pattern: str) -> Predicate:
    """Compile an expression to a predicate that matches whole texts, as Envoy's safe_regex does.

    Raises:
        BadPattern: RE2 rejects the pattern.
        UnsupportedError: google-re2 is not installed.
    """
    try:
        import re2
    except ImportError:
        raise UnsupportedError(
            "routes with regular expressions need google-re2", "pip install 'flowd-agent[agent]'"
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_BYTES
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(error)
        raise BadPattern(f"bad regular expression {pattern!r}: {text}") from None

    def accepts(text: str) -> bool:
        return compiled.fullmatch(text.encode(errors="replace").decode()) is not None

    return accepts


@dataclass(frozen=True, slots=True)
class ValueMatcher:
    """Condition on one header or query parameter of a match; header names are in lower case."""

    name: str
    value: str
    regex: bool
    predicate: Predicate = field(compare=False, repr=False)

    @classmethod
    def build(cls, name: str, value: str, regex: bool) -> "ValueMatcher":
        """Compile the condition.

        Raises:
            BadPattern, UnsupportedError: as full_match.
        """
        return cls(name, value, regex, full_match(value) if regex else value.__eq__)

    def __str__(self) -> str:
        return f"{self.name}{'~' if self.regex else '='}{self.value}"
