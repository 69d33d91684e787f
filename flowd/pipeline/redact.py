"""Redact passwords, queries and header values of requests, before a row is stored or exported.

The rules are Hubble's (`--hubble-redact-*` of Cilium 1.19): the password of a URL's userinfo
becomes HUBBLE_REDACTED, query and fragment are removed, and header values become HUBBLE_REDACTED.
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
"""Headers that carry a URL or a path, and therefore may repeat the query."""

_PASSWORD = re.compile(r"(//[^/?#\s:]*):[^/?#\s]*@")
_HOST_PASSWORD = re.compile(r"^([^/?#\s:]*):[^/?#\s]*@")
_QUERY = re.compile(r"[?#]", re.ASCII)


class Redactor:
    """Redact REQUEST rows in place; without `enabled` only passwords in URLs.

    Args:
        query: also remove queries and fragments.
        allow: names of the only headers whose values stay; case is ignored.
        deny: names of the only headers whose values are redacted; without both lists, all are.

    Raises:
        UsageError: both lists are given, or settings have no effect without `enabled`.
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
        """Redact host, paths, headers and user agent of every row; request and trace ids stay."""
        for column in _URL_COLUMNS:
            batch[column] = [self._url(text) for text in batch[column].tolist()]
        batch["host"] = [
            _HOST_PASSWORD.sub(rf"\1:{REDACTED}@", text) if "@" in text else text
            for text in batch["host"].tolist()
        ]
        if self._headers and self._hidden("user-agent"):
            agents = batch["user_agent"].tolist()
            batch["user_agent"] = [REDACTED if agent else "" for agent in agents]
        batch["headers"] = [self._fields(one) if one else one for one in batch["headers"]]

    def _url(self, text: str) -> str:
        if "@" in text:
            text = _PASSWORD.sub(rf"\1:{REDACTED}@", text)
        return _QUERY.split(text, 1)[0] if self._query else text

    def _fields(self, headers: dict[str, str]) -> dict[str, str]:
        return {name: self._value(name.lower(), value) for name, value in headers.items()}

    def _value(self, name: str, value: str) -> str:
        if self._headers and self._hidden(name):
            return REDACTED
        return self._url(value) if name in _URL_HEADERS else value

    def _hidden(self, name: str) -> bool:
        if self._allow:
            return name not in self._allow
        return name in self._deny or not self._deny
