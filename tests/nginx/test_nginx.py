"""The simulation of ingress-nginx beside a real nginx with the configuration that it stands for."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from flowd.kubernetes.objects.ingress import Ingress
from flowd.parity.nginx.annotations import ControllerSettings
from flowd.parity.nginx.evaluate import evaluate
from flowd.parity.nginx.servers import build
from flowd.parity.outcome import ParityRequest
from tests.nginx.server import NGINX, Client, running_nginx
from tests.support.parity_objects import HOST, before, ingress

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx (Debian's package nginx)")

SHOP = (
    ingress(
        "shop",
        ("/", "Prefix", "web"),
        ("/api", "Prefix", "api"),
        ("/api/v2", "Prefix", "api2"),
        ("/api/health", "Exact", "health"),
        ("/docs/", "Prefix", "docs"),
        ("/img/", "Exact", "img"),
    ),
    ingress("wild", ("/", "Prefix", "wild"), host="*.store.test", age=2),
    ingress("hostless", ("/static", "Prefix", "static"), host="", age=3),
    ingress("alias", ("/only", "Prefix", "own"), host="b.test", age=4, server_alias="c.test"),
)
EXPRESSIONS = (
    ingress(
        "plain", ("/pay", "Exact", "pay"), ("/cart", "Prefix", "cart"), ("/f.txt", "Exact", "f")
    ),
    ingress(
        "rx",
        ("/img/.+", "ImplementationSpecific", "img"),
        ("/items/[0-9]+", "ImplementationSpecific", "items"),
        ("/one|/two", "ImplementationSpecific", "either"),
        ("/(?!admin)[a-z]+/x", "ImplementationSpecific", "look"),
        age=2,
        use_regex="true",
    ),
)
REWRITES = (
    ingress(
        "a",
        ("/api(/|$)(.*)", "ImplementationSpecific", "api"),
        use_regex="true",
        rewrite_target="/$2",
    ),
    ingress("b", ("/app", "Prefix", "app"), age=2, rewrite_target="/app"),
    ingress("c", ("/old", "Prefix", "old"), age=3, rewrite_target="/new/place"),
    ingress("d", ("/", "Prefix", "web"), age=4),
)
ANSWERS = (
    ingress("p", ("/", "Prefix", "web"), host="perm.test", permanent_redirect="https://new.test"),
    ingress(
        "t", ("/", "Prefix", "web"), host="temp.test", age=2, temporal_redirect="https://t.test/a"
    ),
    ingress("r", ("/", "Prefix", "web"), host="root.test", age=3, app_root="/start"),
    ingress("s", ("/", "Prefix", "web"), host="small.test", age=4, proxy_body_size="1k"),
    ingress("w", ("/", "Prefix", "web"), host="naked.test", age=5, from_to_www_redirect="true"),
)
PATHS = (
    *("/", "/api", "/api/", "/api/v1?q=1", "/api/v2/x", "/api/v22", "/apis", "/API", "/api/health"),
    *("/api/health/", "/docs", "/docs?x=1", "/docs/", "/docs/a", "/img", "/img/", "/img/a"),
    *(
        "//api/v1",
        "/api//v1",
        "/api/./v1",
        "/api/../docs/x",
        "/api/..",
        "/x/../../api",
        "/..",
        "/../",
    ),
    *("/%61pi/x", "/api%2Fv1", "/api/a%2fb", "/api%5Cv1", "/api/%2e%2e/docs/", "/%2e%2e/api"),
    *(
        "/api/%zz",
        "/api/%0",
        "/api/%",
        "/api/%00",
        "/api%20x",
        "/api;v=1",
        "/api/x#f?g",
        "/#",
        "/api#",
    ),
    *(
        "/api/%C3%A4",
        "/api/?",
        "/?api",
        "/a%3Fb",
        "/a%23b",
        "/a%25b",
        "/api/a+b",
        "/.",
        "/./",
        "/...",
    ),
    *("/api/...", "/api/.x", "/api/x.", "/api/x./", "/api/%2f/", "/docs/%2e", "/docs/."),
)
EXPRESSION_PATHS = (
    *(
        "/pay",
        "/PAY",
        "/payment",
        "/pay/now",
        "/cart",
        "/cartoon",
        "/Cart/1",
        "/img/a.png",
        "/img/",
    ),
    *("/items/7", "/items/7/x", "/ITEMS/7", "/items/x", "/one", "/x/two", "/onetwo", "/two"),
    *("/shop/x", "/admin/x", "/f.txt", "/f-txt", "/F.TXT2", "/", "//img//a", "/img/%2e"),
)
REWRITE_PATHS = (
    *("/api", "/api/", "/api/v1", "/API/v1", "/api/a%2Fb", "/api/a%3Bb?x=1", "/api/a%20b", "/apis"),
    *(
        "/api/%C3%A4",
        "/api/a%25b",
        "/api/a%3Fb",
        "/api/a+b",
        "/api/a%22b",
        "/api?x=1",
        "/app",
        "/app/x",
    ),
    *(
        "/appx",
        "/APP",
        "/old",
        "/old/x?y=1",
        "/older",
        "/other",
        "/api/{x}",
        "/api/a|b",
        "/api/a%5Eb",
    ),
)


def check(
    client: Client, ingresses: Sequence[Ingress], target: str, host: str = HOST, body: int = 0
) -> None:
    """Compare status, backend, target and Location of the simulation with those of nginx."""
    configuration = build(before(*ingresses), ControllerSettings())
    request = ParityRequest(
        host=host, path=target, method="POST" if body else "GET", body_bytes=body
    )
    wanted = evaluate(configuration, request, lambda _backend: None)
    found = client.send(target, host, request.method, body_bytes=body)
    assert found.status == wanted.status
    assert found.backend == wanted.backend
    assert found.target == wanted.upstream_path
    if (
        wanted.location
        and not configuration.named.get(host, configuration.servers["_"]).redirect_to
    ):
        assert found.location.replace(f":{client.port}", "") == wanted.location


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory):
    with running_nginx(
        build(before(*SHOP), ControllerSettings()), tmp_path_factory.mktemp("shop")
    ) as client:
        yield client


@pytest.fixture(scope="module")
def expressions(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("rx")
    with running_nginx(build(before(*EXPRESSIONS), ControllerSettings()), folder) as client:
        yield client


@pytest.fixture(scope="module")
def rewrites(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("rw")
    with running_nginx(build(before(*REWRITES), ControllerSettings()), folder) as client:
        yield client


@pytest.mark.parametrize("target", PATHS)
def test_plain_locations(shop: Client, target: str) -> None:
    check(shop, SHOP, target)


@pytest.mark.parametrize(
    "host",
    [
        *("store.test:80", "STORE.TEST", "store.test.", "a.store.test", "a.b.store.test"),
        *("a_b.store.test", "a!b.store.test", "b.test", "c.test", "other.test", "127.0.0.1"),
    ],
)
@pytest.mark.parametrize("target", ["/", "/only/x", "/static/x", "/healthz", "/healthzz"])
def test_hosts(shop: Client, host: str, target: str) -> None:
    check(shop, SHOP, target, host)


@pytest.mark.parametrize("target", EXPRESSION_PATHS)
def test_expressions(expressions: Client, target: str) -> None:
    check(expressions, EXPRESSIONS, target)


@pytest.mark.parametrize("target", REWRITE_PATHS)
def test_rewrites(rewrites: Client, target: str) -> None:
    check(rewrites, REWRITES, target)


def test_answers_of_nginx_itself(tmp_path: Path) -> None:
    with running_nginx(build(before(*ANSWERS), ControllerSettings()), tmp_path) as client:
        for host in ("perm.test", "temp.test", "root.test", "www.naked.test"):
            for target in ("/", "/a?b=1", "//"):
                check(client, ANSWERS, target, host)
        check(client, ANSWERS, "/up", "small.test", body=1024)
        check(client, ANSWERS, "/up", "small.test", body=1025)
        check(client, ANSWERS, "/up", "root.test", body=(1 << 20) + 1)
        check(client, ANSWERS, "/" + "p" * 9000, "root.test")


@pytest.mark.parametrize("name", ["X_User", "X.User", "X-User", "X User"])
def test_header_names(shop: Client, name: str) -> None:
    configuration = build(before(*SHOP), ControllerSettings())
    request = ParityRequest(host=HOST, path="/", headers={name: "7"})
    wanted = evaluate(configuration, request, lambda _backend: None)
    found = shop.send("/", HOST, headers={name: "7"})
    if found.status == 200:
        assert (name.lower() in found.names) == (name.lower() not in wanted.request_headers)
