"""Redaction of requests as Hubble does it, before anything is kept or shown.

Hubble's rules (`--hubble-redact-*` of Cilium 1.19): the password of a URL's userinfo becomes
HUBBLE_REDACTED, a query and fragment are cut off, and header values become HUBBLE_REDACTED.
"""

import re
from collections.abc import Iterable

from flowd.errors import UsageError
from flowd.model.records.request import RequestBatch

REDACTED = "HUBBLE_REDACTED"

_URL_COLUMNS = ("path", "original_path")
_URL_HEADERS = {
    ":path",
    "referer",
    "x-envoy-original-path",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-uri",
}
"""Headers that carry a URL or a path, and so may carry the query again."""

_PASSWORD = re.compile(r"(//[^/?#\s:]*):[^/?#\s]*@")
_HOST_PASSWORD = re.compile(r"^([^/?#\s:]*):[^/?#\s]*@")
_QUERY = re.compile(r"[?#]", re.ASCII)


class Redactor:
    """Redacts batches in place; only passwords in URLs unless `enabled`.

    Args:
        query: also cut queries and fragments off.
        allow: the only headers whose values stay, in any case.
        deny: the only headers whose values go; with neither list the values of all go.

    Raises:
        UsageError: both lists, or settings that would do nothing.
    """

    def __init__(
        self,
        *,
        enabled: bool = False,
        query: bool = False,
        allow: Iterable[str] = (),
        deny: Iterable[str] = (),
    ) -> None:
        self._allow = {name.lower() for name in allow}
        self._deny = {name.lower() for name in deny}
        if self._allow and self._deny:
            raise UsageError(
                "redact_http_headers_allow and redact_http_headers_deny exclude each other",
                "keep one of them",
            )
        if not enabled and (query or self._allow or self._deny):
            raise UsageError("redact_http_* settings do nothing without redact", "set redact")
        self._headers = enabled
        self._query = query

    def redact(self, batch: RequestBatch) -> None:
        """Redact host, paths, headers and user agent of every row; ids that join flows stay."""
        for column in _URL_COLUMNS:
            batch[column] = [self._url(text) for text in batch[column].tolist()]
        batch["host"] = [
            _HOST_PASSWORD.sub(rf"\1:{REDACTED}@", text) if "@" in text else text
            for text in batch["host"].tolist()
        ]
        if self._headers and self._hidden("user-agent"):
            agents = batch["user_agent"].tolist()
            batch["user_agent"] = [REDACTED if agent else "" for agent in agents]
        batch["headers"] = [self._fields(held) if held else held for held in batch["headers"]]

    def _url(self, text: str) -> str:
        if "@" in text:
            text = _PASSWORD.sub(rf"\1:{REDACTED}@", text)
        return _QUERY.split(text, 1)[0] if self._query else text

    def _fields(self, held: dict[str, str]) -> dict[str, str]:
        return {name: self._value(name.lower(), value) for name, value in held.items()}

    def _value(self, name: str, value: str) -> str:
        if self._headers and self._hidden(name):
            return REDACTED
        return self._url(value) if name in _URL_HEADERS else value

    def _hidden(self, name: str) -> bool:
        if self._allow:
            return name not in self._allow
        return name in self._deny or not self._deny
