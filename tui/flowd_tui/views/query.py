"""Parse the filter language of `flowd top` into predicates: words, `field=value`, and, or, not.

expr = and { "or" and }            atom = "(" expr ")" | field op value { "," value } | word
and  = not { ["and"] not }         op   = = != ~ !~ > >= < <=
not  = ["not" | "!"] atom
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
Predicate = Callable[[T], bool]
NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]*)", re.IGNORECASE)
UNITS = {
    "": 1, "ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9,
    "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 1e3, "mb": 1e6, "gb": 1e9,
}  # fmt: skip
_TOKEN = re.compile(
    r"""\s*(?:(?P<op>!=|!~|>=|<=|[=~><])|(?P<sign>[(),!])
        |"(?P<quoted>[^"]*)"|(?P<word>[^\s(),!=~<>"]+))""",
    re.VERBOSE,
)
_DEEPEST = 40


class QueryError(ValueError):
    """The filter does not parse; `column` is the position of the error, from 0."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column


class FieldKind(StrEnum):
    """How `=` compares the values of a field."""

    NAME = "name"  # glob on the whole name or on the part after a slash
    PREFIX = "prefix"  # the same, with `*` added at the end
    WORD = "word"  # exact, case-folded
    IP = "ip"  # address or CIDR
    NUMBER = "number"  # 404, 5xx, 500..599, 250ms, 1MiB


@dataclass(frozen=True, slots=True)
class QueryField(Generic[T]):
    """A field of the language: its kind, and a function from a row to its values."""

    kind: FieldKind
    values: Callable[[T], Sequence[str | float]]


@dataclass(frozen=True, slots=True)
class Schema(Generic[T]):
    """Fields of one view by name; `text` gives a row's case-folded text, which words search."""

    fields: Mapping[str, QueryField[T]]
    text: Callable[[T], str]


def parse(text: str, schema: Schema[T]) -> Predicate[T] | None:
    """The predicate of a filter; None for an empty one, which every row passes.

    Raises:
        QueryError: the text does not parse, or has an unknown field or an invalid value.
    """
    parser = _QueryParser(_tokens(text), len(text), schema)
    if parser.done:
        return None
    predicate = parser.expression(0)
    if not parser.done:
        raise QueryError(f"unexpected {parser.token.text!r}", parser.token.column)
    return predicate


def quoted(value: str) -> str:
    """A value quoted for a filter; quotation marks in it become `?`, the glob for any character."""
    plain = re.fullmatch(r"[^\s(),!=~<>\"]+", value)
    return value if plain else '"' + value.replace('"', "?") + '"'


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if not match:
            raise QueryError("a quotation mark without its partner", text.find('"', at))
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return tokens


class _QueryParser(Generic[T]):
    """Recursive-descent parser; every method returns a predicate."""

    def __init__(self, tokens: list[_Token], length: int, schema: Schema[T]) -> None:
        self._tokens = tokens
        self._end = _Token("end", "end of filter", length)
        self._at = 0
        self._schema = schema

    @property
    def done(self) -> bool:
        return self._at >= len(self._tokens)

    @property
    def token(self) -> _Token:
        return self._end if self.done else self._tokens[self._at]

    def _next_token(self) -> _Token:
        token = self.token
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self.token
        return token.kind in ("word", "sign") and token.text.lower() in texts

    def expression(self, depth: int) -> Predicate[T]:
        if depth > _DEEPEST:
            raise QueryError("too many parentheses", self.token.column)
        parts = [self._conjunction(depth)]
        while self._is("or"):
            self._next_token()
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _conjunction(self, depth: int) -> Predicate[T]:
        parts = [self._negation(depth)]
        while not self.done and not self._is("or", ")", ","):
            if self._is("and"):
                self._next_token()
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _negation(self, depth: int) -> Predicate[T]:
        negative = False
        while self._is("not", "!"):
            self._next_token()
            negative = not negative
        atom = self._atom(depth)
        return (lambda row: not atom(row)) if negative else atom

    def _atom(self, depth: int) -> Predicate[T]:
        token = self._next_token()
        if token.kind == "sign" and token.text == "(":
            inner = self.expression(depth + 1)
            if not self._is(")"):
                raise QueryError("a parenthesis is not closed", token.column)
            self._next_token()
            return inner
        if token.kind not in ("word", "quoted"):
            raise QueryError(f"a word or field is missing before {token.text!r}", token.column)
        if self.token.kind == "op":
            return self._comparison(token)
        folded, text = token.text.casefold(), self._schema.text
        return lambda row: folded in text(row)

    def _comparison(self, name: _Token) -> Predicate[T]:
        field = self._schema.fields.get(name.text.lower())
        if not field:
            known = list(self._schema.fields)
            near = get_close_matches(name.text.lower(), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {' '.join(known)}"
            raise QueryError(f"unknown field {name.text!r}, {hint}", name.column)
        op = self._next_token().text
        tests = [self._test(field.kind, op)]
        while self._is(","):
            self._next_token()
            tests.append(self._test(field.kind, op))
        values, expected = field.values, not op.startswith("!")
        return lambda row: any(test(v) for v in values(row) for test in tests) is expected

    def _test(self, kind: FieldKind, op: str) -> Callable[[str | float], bool]:
        token = self._next_token()
        if token.kind not in ("word", "quoted"):
            raise QueryError("a value is missing", token.column)
        try:
            return value_test(kind, op, token.text)
        except ValueError as error:
            raise QueryError(str(error), token.column) from None


def value_test(kind: FieldKind, op: str, text: str) -> Callable[[str | float], bool]:
    """Predicate that compares one value of a field with a literal.

    Raises:
        ValueError: the literal is no value of this kind, or the kind lacks the operator.
    """
    if op in ("~", "!~"):
        try:
            pattern = re.compile(text, re.IGNORECASE)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return lambda value: bool(pattern.search(str(value)))
    if op not in ("=", "!="):
        return _ordered(kind, op, text)
    if kind is FieldKind.NUMBER:
        low, high = _range(text)
        return lambda value: low <= float(value) <= high
    if kind is FieldKind.IP:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no address and no CIDR") from None
        return lambda value: bool(value) and _in(str(value), network)
    folded = text.casefold()
    if kind is FieldKind.WORD:
        return lambda value: str(value).casefold() == folded
    if kind is FieldKind.PREFIX and not folded.endswith("*"):
        folded += "*"
    return lambda value: any(fnmatchcase(name, folded) for name in _names(str(value)))


def _ordered(kind: FieldKind, op: str, text: str) -> Callable[[str | float], bool]:
    if kind is not FieldKind.NUMBER:
        raise ValueError(f"{op} is for numbers; use =, !=, ~ or !~")
    limit = _number(text)
    compare: dict[str, Callable[[float], bool]] = {
        ">": lambda value: value > limit,
        ">=": lambda value: value >= limit,
        "<": lambda value: value < limit,
        "<=": lambda value: value <= limit,
    }
    return lambda value: compare[op](float(value))


def _number(text: str) -> float:
    match = NUMBER.fullmatch(text)
    if not match or match[2].lower() not in UNITS:
        raise ValueError(f"{text!r} is no number: 404, 5xx, 500..599, 250ms or 1MiB")
    return float(match[1]) * UNITS[match[2].lower()]


def _range(text: str) -> tuple[float, float]:
    if re.fullmatch(r"[1-9](xx|\+)", text, re.IGNORECASE):
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    low, dots, high = text.partition("..")
    return _number(low), _number(high) if dots else _number(low)


def _in(value: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(value) in network
    except ValueError:
        return False


def _names(value: str) -> list[str]:
    """A name and its part after each slash, each also without `:port`."""
    parts = value.casefold().split("/")
    names = ["/".join(parts[index:]) for index in range(len(parts))]
    return [*names, *(name.rpartition(":")[0] for name in names if ":" in name)]
