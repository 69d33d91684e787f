"""Effects around routing: redirects, TLS, bodies, headers, CORS, authentication, snippets, log evidence."""

import pytest

from flowd.parity.outcome import Seen
from tests.support.parity_objects import (
    add_route,
    before,
    compared,
    gateway,
    ingress,
    redirect,
    rule,
)

WEB = gateway(rule("/", "web"))
SECURE = gateway(rule("/", "web"), tls=True)


def test_the_redirect_to_https_loses_a_final_slash() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), tls=["store.test"]))
    new = gateway(tls=True)
    new.http_routes.clear()
    add_route(new, "plain", rule("/", filters=[redirect(scheme="https")]), section="http-0")
    add_route(new, "secure", rule("/", "web"), section="https-0")
    assert compared(old, new, "/cart").verdict == "same"
    assert compared(old, new, "/").verdict == "same"
    for path in ("/cart/", "/cart?next=/"):
        assert compared(old, new, path).cause == "ssl-redirect-slash"
    assert compared(old, new, "/cart", scheme="https").cause == "hsts"
    quiet = {"hsts": "false"}
    assert compared(old, new, "/cart", scheme="https", configmap=quiet).verdict == "same"
    large = compared(old, new, "/cart", method="POST", body=1 << 21)
    assert (large.cause, large.before.status) == ("body-size", 413)


def test_force_ssl_redirect_needs_no_certificate() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), force_ssl_redirect="true"))
    verdict = compared(old, WEB, "/x")
    assert (verdict.cause, verdict.before.location) == (
        "force-ssl-redirect",
        "https://store.test/x",
    )
    assert compared(old, WEB, "/.well-known/acme-challenge/t").cause == "force-ssl-redirect"
    verdict = compared(old, WEB, "/x", scheme="https")
    assert (verdict.cause, verdict.after.status) == ("default-certificate", 0)


def test_tls_of_a_wildcard_redirects_hosts_below_it() -> None:
    old = before(
        ingress("w", ("/", "Prefix", "wild"), host="*.store.test", tls=["*.store.test"]),
        ingress("a", ("/", "Prefix", "web"), host="a.store.test", age=2),
    )
    new = gateway(rule("/", "web"), hosts=["a.store.test"], listeners=["a.store.test"])
    assert compared(old, new, "/x", host="a.store.test").cause == "tls-wildcard-redirect"


def test_a_trusted_forwarded_proto_stops_the_redirect() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), tls=["store.test"]))
    new = gateway(rule("/", filters=[redirect(scheme="https")]))
    trusted = {"use-forwarded-headers": "true"}
    sent = {"X-Forwarded-Proto": "https"}
    verdict = compared(old, new, "/x", headers=sent, configmap=trusted)
    assert (verdict.cause, verdict.before.status) == ("forwarded-proto", 200)


def test_redirects_of_annotations_drop_the_query() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), permanent_redirect="https://new.test"))
    new = gateway(rule("/", filters=[redirect(301, scheme="https", hostname="new.test", path="/")]))
    assert compared(old, new, "/old").verdict == "same"
    assert compared(old, new, "/old?q=1").cause == "redirect-query"


def test_temporal_wins_over_permanent_and_308_is_out_of_its_range() -> None:
    old = before(
        ingress(
            "a",
            ("/", "Prefix", "web"),
            permanent_redirect="https://one.test",
            temporal_redirect="https://two.test",
            temporal_redirect_code="308",
        )
    )
    verdict = compared(old, WEB, "/x")
    assert (verdict.before.status, verdict.before.location) == (302, "https://two.test")


def test_app_root_answers_before_the_redirect_to_https() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), app_root="/app", tls=["store.test"]))
    verdict = compared(old, gateway(rule("/", filters=[redirect(scheme="https")])), "/")
    assert (verdict.cause, verdict.before.location) == (
        "redirect-before-tls",
        "http://store.test/app",
    )


@pytest.mark.parametrize(
    ("headers", "path", "cause", "old"),
    [
        ({"Cookie": "a=" + "x" * 9000}, "/", "header-size", 400),
        ({}, "/" + "p" * 9000, "uri-size", 414),
        ({"X_User": "7"}, "/", "header-underscore", 200),
        ({"X.User": "7"}, "/", "header-name", 200),
        ({"X-Forwarded-For": "192.0.2.1"}, "/", "forwarded-headers", 200),
    ],
)
def test_headers(headers: dict[str, str], path: str, cause: str, old: int) -> None:
    verdict = compared(before(ingress("a", ("/", "Prefix", "web"))), WEB, path, headers=headers)
    assert (verdict.verdict, verdict.cause, verdict.before.status) == ("different", cause, old)


def test_cors_answers_preflights_with_204() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), enable_cors="true"))
    asked = {"Origin": "https://a.test", "Access-Control-Request-Method": "GET"}
    verdict = compared(old, WEB, method="OPTIONS", headers=asked)
    assert (verdict.cause, verdict.before.status) == ("cors", 204)
    limited = before(
        ingress("a", ("/", "Prefix", "web"), enable_cors="true", cors_allow_origin="https://b.test")
    )
    assert compared(limited, WEB, headers={"Origin": "https://evil.test"}).verdict == "same"


def test_authentication_was_left_out() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), auth_type="basic", auth_secret="users"))
    assert compared(old, WEB).before.status == 401
    known = compared(old, WEB, headers={"Authorization": "Basic dTpw"})
    assert (known.verdict, known.cause) == ("different", "auth")
    assert known.differs == ["request-headers:authorization"]


def test_a_snippet_cannot_be_known() -> None:
    text = "more_set_headers 'A: b';"
    old = before(ingress("a", ("/", "Prefix", "web"), configuration_snippet=text))
    verdict = compared(old, WEB)
    assert (verdict.before.status, verdict.cause) == (404, "snippet")  # the Ingress is ignored
    allowed = {"allow-snippet-annotations": "true", "annotations-risk-level": "Critical"}
    assert compared(old, WEB, configmap=allowed).verdict == "unknown"
    answered = Seen(200, "shop-web-80")
    assert compared(old, WEB, configmap=allowed, seen=answered).verdict == "same"
    refused = compared(old, WEB, configmap=allowed, seen=Seen(403, "shop-web-80", answered=False))
    assert (refused.verdict, refused.cause) == ("different", "snippet")


@pytest.mark.parametrize(
    ("annotations", "seen", "verdict", "cause"),
    [
        ({"proxy_read_timeout": "1"}, Seen(504, answered=False), "different", "timeout"),
        ({}, Seen(504, answered=False), "unknown", "backend-failure"),
        ({"backend_protocol": "HTTPS"}, Seen(200), "different", "backend-protocol"),
        ({}, Seen(200, retried=True), "different", "retry"),
        ({}, Seen(500), "same", ""),
        (
            {"auth_type": "basic", "auth_secret": "gone"},
            Seen(503, answered=False),
            "different",
            "location-denied",
        ),
    ],
)
def test_the_log_is_the_truth_of_the_past(
    annotations: dict[str, str], seen: Seen, verdict: str, cause: str
) -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), annotations=annotations))
    found = compared(old, WEB, seen=seen)
    assert (found.verdict, found.cause) == (verdict, cause)


def test_the_default_backend_annotation_answers_for_a_service_without_endpoints() -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), default_backend="errors"))
    verdict = compared(old, WEB, down=["web"])
    assert (verdict.cause, verdict.before.backend) == (
        "default-backend-annotation",
        "shop/errors:80",
    )
    assert verdict.after.status == 503


@pytest.mark.parametrize(
    ("annotation", "cause"),
    [
        ("custom_http_errors", "custom-errors"),
        ("ssl_passthrough", "ssl-passthrough"),
        ("something_new", "annotation-unread"),
    ],
)
def test_an_annotation_that_is_not_simulated_is_unknown(annotation: str, cause: str) -> None:
    old = before(ingress("a", ("/", "Prefix", "web"), annotations={annotation: "true"}))
    verdict = compared(old, WEB)
    assert (verdict.verdict, verdict.cause) == ("unknown", cause)
