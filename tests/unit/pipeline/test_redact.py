"""Redaction of requests: passwords always, queries and headers when asked."""

from typing import Any

import pytest

from flowd.errors import UsageError
from flowd.model.records.request import empty_requests
from flowd.pipeline.redact import REDACTED, Redactor

HEADERS = {
    "authorization": "Bearer s3cret",
    "x-team": "blue",
    "referer": "https://ann:s3cret@shop.example/a?token=s3cret#s3cret",
    "x-envoy-original-path": "/old?token=s3cret",
}


def redacted(redactor: Redactor, **text: Any) -> dict[str, Any]:
    batch = empty_requests(2)
    for name, value in text.items():
        batch[name][0] = value
    redactor.redact(batch)
    assert batch[1] == empty_requests(1)[0]
    return {name: batch[name][0] for name in (*text, "host", "path", "original_path")}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a?x=1", "/a?x=1"),
        ("/@me:too/x@y", "/@me:too/x@y"),
        ("http://ann:pw@shop.example/a", f"http://ann:{REDACTED}@shop.example/a"),
        ("http://ann:p:w@x@shop.example/a", f"http://ann:{REDACTED}@shop.example/a"),
        ("http://ann:@shop.example/", f"http://ann:{REDACTED}@shop.example/"),
        ("http://ann@shop.example/", "http://ann@shop.example/"),
        ("http://shop.example:80/a@b", "http://shop.example:80/a@b"),
        ("/login?next=http://ann:pw@x/", f"/login?next=http://ann:{REDACTED}@x/"),
    ],
)
def test_passwords_in_urls_always_go(path: str, expected: str) -> None:
    found = redacted(Redactor(), path=path, original_path=path)
    assert (found["path"], found["original_path"]) == (expected, expected)


def test_passwords_in_hosts_always_go() -> None:
    assert redacted(Redactor(), host="ann:pw@shop.example:80")["host"] == (
        f"ann:{REDACTED}@shop.example:80"
    )
    assert redacted(Redactor(), host="shop.example:80")["host"] == "shop.example:80"


def test_headers_stay_unless_asked_for() -> None:
    found = redacted(Redactor(), headers=dict(HEADERS))["headers"]
    assert found["authorization"] == "Bearer s3cret"
    assert found["referer"] == f"https://ann:{REDACTED}@shop.example/a?token=s3cret#s3cret"


def test_queries_go_everywhere() -> None:
    redactor = Redactor(enabled=True, query=True, deny=["Authorization"])
    found = redacted(
        redactor, path="/a?token=s3cret", original_path="/b#s3cret", headers=dict(HEADERS)
    )
    assert (found["path"], found["original_path"]) == ("/a", "/b")
    assert found["headers"] == {
        "authorization": REDACTED,
        "x-team": "blue",
        "referer": f"https://ann:{REDACTED}@shop.example/a",
        "x-envoy-original-path": "/old",
    }


@pytest.mark.parametrize(
    ("lists", "kept"),
    [
        ({}, set[str]()),
        ({"allow": ["X-Team"]}, {"x-team"}),
        ({"deny": ["x-team", "referer", "X-Envoy-Original-Path"]}, {"authorization"}),
    ],
    ids=str,
)
def test_header_lists(lists: dict[str, list[str]], kept: set[str]) -> None:
    redactor = Redactor(enabled=True, allow=lists.get("allow", ()), deny=lists.get("deny", ()))
    row = redacted(redactor, headers=dict(HEADERS), user_agent="curl", request_id="r-1")
    assert (row["user_agent"], row["request_id"]) == (
        "curl" if "deny" in lists else REDACTED,
        "r-1",
    )
    found = row["headers"]
    assert {name for name, value in found.items() if value != REDACTED} == kept
    assert list(found) == list(HEADERS)


@pytest.mark.parametrize(
    "settings",
    [
        {"enabled": True, "allow": ["a"], "deny": ["b"]},
        {"query": True},
        {"deny": ["authorization"]},
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="redact"):
        Redactor(**settings)
