"""Split streamed responses: list items and watch lines, without the whole list in memory."""

import re

import numpy as np

QUOTE, BACKSLASH, OPEN_LIST = 0x22, 0x5C, 0x5B
_DEPTH = np.zeros(256, np.int8)
_DEPTH[list(b"{[")] = 1
_DEPTH[list(b"}]")] = -1
_ITEMS = re.compile(rb'"items"\s*:\s*\Z')


class ListTooLarge(Exception):
    """The part of a list outside of its items exceeds the limit."""


class ListItems:
    """Split a JSON list response into its `items`; chunks may end anywhere.

    Array expressions examine only quotes and brackets; the decoder of an item validates its JSON.

    Args:
        limit: largest item in bytes; larger ones are dropped and counted in `dropped`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._item = bytearray()
        self._in_string = self._escaped = self._in_items = self._over = False
        self._depth = 0
        self.dropped = 0

    @property
    def rest(self) -> bytes:
        """JSON of the list with `items` empty."""
        return bytes(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the items that this chunk completes.

        Raises:
            ListTooLarge: the JSON outside of the items exceeds the limit.
        """
        at, before, after = self._brackets(chunk)
        # Brackets at which the list, its items, or an item begin or end
        edges = np.flatnonzero((np.minimum(before, after) <= 2) & (np.maximum(before, after) <= 3))
        items: list[bytes] = []
        cursor = 0
        for edge in edges.tolist():
            place, low, high = int(at[edge]), int(before[edge]), int(after[edge])
            if not self._in_items:
                if (low, high) == (1, 2) and chunk[place] == OPEN_LIST:
                    self._rest += chunk[cursor : place + 1]
                    cursor = place + 1
                    self._in_items = _ITEMS.search(self._rest[-256:-1]) is not None
            elif (low, high) == (2, 3):
                cursor = place
            elif (low, high) == (3, 2):
                self._grow(chunk[cursor : place + 1])
                if not self._over:
                    items.append(bytes(self._item))
                self._item.clear()
                self._over = False
                cursor = place + 1
            elif (low, high) == (2, 1):
                self._in_items = False
                cursor = place
        if not self._in_items:
            self._rest += chunk[cursor:]
        elif self._depth > 2:
            self._grow(chunk[cursor:])
        if len(self._rest) > self._limit:
            raise ListTooLarge
        return items

    def _grow(self, part: bytes) -> None:
        if not self._over and len(self._item) + len(part) > self._limit:
            self._over = True
            self.dropped += 1
            self._item.clear()
        if not self._over:
            self._item += part

    def _brackets(self, chunk: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions of the brackets outside of strings, and the depth before and after each."""
        text = np.frombuffer(chunk, np.uint8)
        is_quote = text == QUOTE
        escaped = self._escapes(text)
        is_quote[escaped[escaped < len(text)]] = False
        quotes = np.flatnonzero(is_quote)
        step = _DEPTH[text]
        at = np.flatnonzero(step)
        outside = (np.searchsorted(quotes, at) + self._in_string) % 2 == 0
        at = at[outside]
        change = step[at].astype(np.int64)
        after = self._depth + np.cumsum(change)
        self._in_string ^= bool(len(quotes) % 2)
        self._depth = int(after[-1]) if len(after) else self._depth
        return at, after - change, after

    def _escapes(self, text: np.ndarray) -> np.ndarray:
        """Escaped positions; a position past the end carries over to the next chunk."""
        slashes = np.flatnonzero(text == BACKSLASH)
        carried = self._escaped
        self._escaped = False
        if carried and not (len(slashes) and slashes[0] == 0):
            escaped = np.concatenate([[0], _escaped_by(slashes)])
        elif carried:
            escaped = np.concatenate([[0], _escaped_by(slashes[1:])])
        else:
            escaped = _escaped_by(slashes)
        self._escaped = bool(len(escaped) and escaped[-1] == len(text))
        return escaped


def _escaped_by(slashes: np.ndarray) -> np.ndarray:
    """Positions after the 1st, 3rd, 5th, ... backslash of each run of backslashes."""
    fresh = np.diff(slashes, prepend=-2) != 1
    start = np.maximum.accumulate(np.where(fresh, slashes, 0))
    return slashes[(slashes - start) % 2 == 0] + 1


class LineSplitter:
    """Split a stream into lines; chunks may end anywhere, and an unterminated line is no line.

    Args:
        limit: largest line in bytes; larger ones are dropped and counted in `dropped`.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._part = bytearray()
        self._over = False
        self.dropped = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that this chunk completes, without newline and without empty lines."""
        lines: list[bytes] = []
        *ends, tail = chunk.split(b"\n")
        for end in ends:
            self._grow(end)
            if self._part and not self._over:
                lines.append(bytes(self._part))
            self._part.clear()
            self._over = False
        self._grow(tail)
        return lines

    def _grow(self, part: bytes) -> None:
        if not self._over and len(self._part) + len(part) > self._limit:
            self._over = True
            self.dropped += 1
            self._part.clear()
        if not self._over:
            self._part += part
