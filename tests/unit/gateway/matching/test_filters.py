"""Filters: redirect locations, rewrites, and rewrites reversed."""

import pytest

from flowd.gateway.matching.filters import (
    can_rewrite_to,
    filter_text,
    redirect_location,
    rewrite_request,
)
from flowd.gateway.matching.rules import Match
from flowd.kubernetes.objects import gateway_api as gw


def prefix(path: str) -> Match:
    return Match(0, "PathPrefix", path.rstrip("/"), "", (), (), None, "", ())


def path_to(kind: str, value: str) -> gw.HTTPPathModifier:
    if kind == "ReplaceFullPath":
        return gw.HTTPPathModifier(type="ReplaceFullPath", replace_full_path=value)
    return gw.HTTPPathModifier(type="ReplacePrefixMatch", replace_prefix_match=value)


# The table of HTTPPathModifier in gateway-api, apis/v1/httproute_types.go.
@pytest.mark.parametrize(
    ("path", "matched", "replacement", "wanted"),
    [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
    ],
)
def test_a_prefix_is_replaced_and_the_way_back_is_found(
    path: str, matched: str, replacement: str, wanted: str
) -> None:
    change = gw.HTTPURLRewriteFilter(path=path_to("ReplacePrefixMatch", replacement))
    filters = (gw.HTTPRouteFilter(type="URLRewrite", url_rewrite=change),)
    after = rewrite_request(filters, prefix(matched), "a.example", path + "?q=1", {})
    assert (after.path, after.host) == (wanted + "?q=1", "a.example")
    assert can_rewrite_to(filters, "a.example", wanted)


def test_what_a_rewrite_cannot_have_made() -> None:
    narrow = gw.HTTPURLRewriteFilter(path=path_to("ReplacePrefixMatch", "/xyz"))
    full = gw.HTTPURLRewriteFilter(hostname="b.example", path=path_to("ReplaceFullPath", "/one"))
    for change, host, path, wanted in (
        (narrow, "a.example", "/xyzz", False),
        (narrow, "a.example", "/xyz/1", True),
        (full, "b.example", "/one", True),
        (full, "b.example", "/two", False),
        (full, "a.example", "/one", False),
    ):
        filters = (gw.HTTPRouteFilter(type="URLRewrite", url_rewrite=change),)
        assert can_rewrite_to(filters, host, path) == wanted
    assert not can_rewrite_to((gw.HTTPRouteFilter(type="CORS"),), "a.example", "/")


@pytest.mark.parametrize(
    ("redirect", "scheme", "port", "wanted"),
    [
        (gw.HTTPRequestRedirectFilter(), "http", 80, "http://a.example/foo/x?q=1"),
        (gw.HTTPRequestRedirectFilter(), "http", 8080, "http://a.example:8080/foo/x?q=1"),
        (gw.HTTPRequestRedirectFilter(scheme="https"), "http", 8080, "https://a.example/foo/x?q=1"),
        (
            gw.HTTPRequestRedirectFilter(scheme="https", port=8443),
            "http",
            80,
            "https://a.example:8443/foo/x?q=1",
        ),
        (gw.HTTPRequestRedirectFilter(port=443), "https", 8443, "https://a.example/foo/x?q=1"),
        (
            gw.HTTPRequestRedirectFilter(hostname="b.example"),
            "https",
            443,
            "https://b.example/foo/x?q=1",
        ),
        (
            gw.HTTPRequestRedirectFilter(path=path_to("ReplacePrefixMatch", "/bar")),
            "http",
            80,
            "http://a.example/bar/x?q=1",
        ),
        (
            gw.HTTPRequestRedirectFilter(path=path_to("ReplaceFullPath", "/n")),
            "http",
            80,
            "http://a.example/n?q=1",
        ),
    ],
)
def test_where_a_redirect_leads(
    redirect: gw.HTTPRequestRedirectFilter, scheme: str, port: int, wanted: str
) -> None:
    found = redirect_location(
        redirect, prefix("/foo"), scheme, "a.example:8080", "/foo/x?q=1", port
    )
    assert found == wanted


def test_an_address_in_brackets_stays_whole() -> None:
    assert (
        redirect_location(gw.HTTPRequestRedirectFilter(), prefix("/"), "http", "[::1]", "/", 80)
        == "http://[::1]/"
    )
    assert (
        redirect_location(gw.HTTPRequestRedirectFilter(), prefix("/"), "http", "[::1]:81", "/", 81)
        == "http://[::1]:81/"
    )


def test_filters_are_readable() -> None:
    modify = gw.HTTPHeaderFilter(set=(gw.HTTPHeader(name="a", value="1"),), remove=("b",))
    mirror = gw.HTTPRequestMirrorFilter(backend_ref=gw.BackendRef(name="s", port=80), percent=5)
    redirect = gw.HTTPRequestRedirectFilter(
        status_code=301, scheme="https", path=path_to("ReplaceFullPath", "/n")
    )
    assert [
        filter_text(
            gw.HTTPRouteFilter(type="RequestHeaderModifier", request_header_modifier=modify)
        ),
        filter_text(gw.HTTPRouteFilter(type="RequestMirror", request_mirror=mirror)),
        filter_text(gw.HTTPRouteFilter(type="RequestRedirect", request_redirect=redirect)),
        filter_text(gw.HTTPRouteFilter(type="ExtensionRef")),
    ] == [
        "RequestHeaderModifier set a=1 remove b",
        "RequestMirror s:80 5%",
        "RequestRedirect 301 https ReplaceFullPath /n",
        "ExtensionRef",
    ]
