"""The filter language: words and `field=value` with and, or, not and parentheses.

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
    """A filter that does not parse; `column` is where, from 0."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.column = column


class Kind(StrEnum):
    """How values of a field compare with `=`."""

    NAME = "name"  # glob, on the whole name or on what follows a slash
    PREFIX = "prefix"  # the same, and names that begin with the value
    WORD = "word"  # exact, case-folded
    IP = "ip"  # address or CIDR
    NUMBER = "number"  # 404, 5xx, 500..599, 250ms, 1MiB


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """A name in the language, and how to read its values from a row."""

    kind: Kind
    values: Callable[[T], Sequence[str | float]]


@dataclass(frozen=True, slots=True)
class Schema(Generic[T]):
    """What can be asked about rows of one view; `text` is case-folded and searched by words."""

    fields: Mapping[str, Field[T]]
    text: Callable[[T], str]


def parse(text: str, schema: Schema[T]) -> Predicate[T] | None:
    """The predicate of a filter; None for an empty one, which takes every row.

    Raises:
        QueryError: the text does not parse, names an unknown field, or has a value it cannot be.
    """
    parser = _Parser(_tokens(text), len(text), schema)
    if parser.done:
        return None
    predicate = parser.expression(0)
    if not parser.done:
        raise QueryError(f"unexpected {parser.token.text!r}", parser.token.column)
    return predicate


def quoted(value: str) -> str:
    """A value as it is written in a filter; a quotation mark in it becomes any character."""
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


class _Parser(Generic[T]):
    """Recursive descent over the tokens; every method returns a predicate."""

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

    def _take(self) -> _Token:
        token = self.token
        self._at += 1
        return token

    def _is(self, *texts: str) -> bool:
        token = self.token
        return token.kind in ("word", "sign") and token.text.lower() in texts

    def expression(self, depth: int) -> Predicate[T]:
        if depth > _DEEPEST:
            raise QueryError("too many parentheses", self.token.column)
        parts = [self._all(depth)]
        while self._is("or"):
            self._take()
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _all(self, depth: int) -> Predicate[T]:
        parts = [self._negated(depth)]
        while not self.done and not self._is("or", ")", ","):
            if self._is("and"):
                self._take()
            parts.append(self._negated(depth))
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _negated(self, depth: int) -> Predicate[T]:
        negative = False
        while self._is("not", "!"):
            self._take()
            negative = not negative
        atom = self._atom(depth)
        return (lambda row: not atom(row)) if negative else atom

    def _atom(self, depth: int) -> Predicate[T]:
        token = self._take()
        if token.kind == "sign" and token.text == "(":
            inner = self.expression(depth + 1)
            if not self._is(")"):
                raise QueryError("a parenthesis is not closed", token.column)
            self._take()
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
        op = self._take().text
        tests = [self._test(field.kind, op)]
        while self._is(","):
            self._take()
            tests.append(self._test(field.kind, op))
        values, wanted = field.values, not op.startswith("!")
        return lambda row: any(test(v) for v in values(row) for test in tests) is wanted

    def _test(self, kind: Kind, op: str) -> Callable[[str | float], bool]:
        token = self._take()
        if token.kind not in ("word", "quoted"):
            raise QueryError("a value is missing", token.column)
        try:
            return value_test(kind, op, token.text)
        except ValueError as error:
            raise QueryError(str(error), token.column) from None


def value_test(kind: Kind, op: str, text: str) -> Callable[[str | float], bool]:
    """The test of one value of a field against one wanted text.

    Raises:
        ValueError: the text is no value of this kind, or the operator makes no sense for it.
    """
    if op in ("~", "!~"):
        try:
            pattern = re.compile(text, re.IGNORECASE)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return lambda value: bool(pattern.search(str(value)))
    if op not in ("=", "!="):
        return _ordered(kind, op, text)
    if kind is Kind.NUMBER:
        low, high = _range(text)
        return lambda value: low <= float(value) <= high
    if kind is Kind.IP:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no address and no CIDR") from None
        return lambda value: bool(value) and _in(str(value), network)
    folded = text.casefold()
    if kind is Kind.WORD:
        return lambda value: str(value).casefold() == folded
    if kind is Kind.PREFIX and not folded.endswith("*"):
        folded += "*"
    return lambda value: any(fnmatchcase(name, folded) for name in _names(str(value)))


def _ordered(kind: Kind, op: str, text: str) -> Callable[[str | float], bool]:
    if kind is not Kind.NUMBER:
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
    """A name and what follows each of its slashes, each also without its `:port`."""
    parts = value.casefold().split("/")
    names = ["/".join(parts[index:]) for index in range(len(parts))]
    return [*names, *(name.rpartition(":")[0] for name in names if ":" in name)]
