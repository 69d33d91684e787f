"""`flowd routes`: match, list and compare, from manifests and from a running agent."""

import asyncio
import io
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from flowd.gateway.attribution.attribute import Attributor
from flowd.gateway.report.describe import describe
from flowd.gateway.report.explain import explain_json
from flowd.model.directory import Directory
from flowd.model.losses import Losses
from flowd.model.records.batch import FlowBatch
from flowd.model.records.connection import empty_connections
from flowd.model.records.flow import empty_flows
from flowd.runtime.queue import Queue
from flowd_exporters.agent_api.service import AgentService
from flowd_exporters.agent_api.traffic import TopExporter
from flowd_exporters.api_server import ApiServer
from tests.support.cli_runner import Result, run_flowd
from tests.support.envoy_entries import bundle, recorded
from tests.support.gateway_bundle import DATA

MANIFESTS = ("--manifests", str(DATA / "tutorial"), "--manifests", str(DATA / "pods"))

WEB = ("HTTPRoute", "shop", "web")

Flowd: TypeAlias = Callable[..., Result]


@pytest.fixture
def flowd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flowd:
    def run(*args: str, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        return run_flowd(monkeypatch, capsys, "routes", *args)

    return run


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def cells(text: str) -> list[list[str]]:
    return [re.split(" {3,}", line.strip()) for line in text.splitlines()]


def test_match_answers_line_by_line(flowd: Flowd) -> None:
    requests = [
        {"host": "www.store.test", "path": "/tagged", "method": "GET", "headers": {"a": "1"}},
        {"gateway": "store/front", "listener": "web", "host": "www.store.test", "path": "/gone"},
        {"host": "nobody.test", "path": "/", "sni": None, "unknown": 1},
    ]
    stdin = "".join(json.dumps(request) + "\n" for request in requests)
    code, out, err = flowd("match", *MANIFESTS, "--requests", "-", "-o", "json", stdin=stdin)
    tagged, gone, nobody = lines(out)
    assert (code, err) == (0, "")
    assert tagged == {
        "gateway": "store/front",
        "listener": "web",
        "route": {
            "kind": "HTTPRoute",
            "namespace": "store",
            "name": "split",
            "rule": 4,
            "match": 0,
            "rule_name": "",
        },
        "action": "forward",
        "status": None,
        "backends": [{"namespace": "store", "name": "shop", "port": 80, "weight": 1}],
        "rewritten": {
            "host": "www.store.test",
            "path": "/tagged",
            "headers": {"a": "1", "x-team": "store", "x-tag": "b"},
        },
        "reason": "",
    }
    assert (gone["action"], gone["status"]) == ("redirect", 301)
    assert gone["redirect"] == "https://new.store.test/gone"
    assert (nobody["route"], nobody["action"], nobody["status"]) == (None, "reject", 404)
    assert "rewritten" not in nobody


def test_a_line_that_is_no_request_is_answered_and_counted(flowd: Flowd, tmp_path: Path) -> None:
    good = '{"host": "www.store.test"}\n'
    path = tmp_path / "requests.jsonl"
    bad = ["{\n", "7\n", '{"port": "x"}\n', "\n", '{"host": "' + "a" * (2 << 20) + '"}\n', "\xff"]
    path.write_bytes(("".join(bad) + "\n" + good).encode("latin-1"))
    code, out, err = flowd("match", *MANIFESTS, "--requests", str(path))
    answers = lines(out)
    assert code == 1
    assert [answer["reason"].startswith("bad_request: ") for answer in answers] == [True] * 5 + [
        False
    ]
    assert answers[-1]["route"]["name"] == "split"
    assert f"{path}: 5 lines were no request, first line 1: " in err


def test_match_needs_manifests_that_can_be_read(flowd: Flowd, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [\n")
    for given, words in (
        (["--manifests", str(broken)], "broken.yaml:"),
        (["--manifests", str(tmp_path / "absent")], "no such file or folder"),
        ([], "--manifests"),
        ([*MANIFESTS, "--dialect", "nginx"], "--dialect"),
    ):
        code, out, err = flowd("match", *given, "--requests", "-")
        assert (code, out) == (2, "")
        assert words in err
    code, _, err = flowd("match", *MANIFESTS, "--requests", str(tmp_path / "absent"))
    assert (code, "absent" in err) == (2, True)


def test_an_object_of_a_wrong_shape_is_told_and_the_rest_is_used(
    flowd: Flowd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: odd}\nspec: {ports: 7}\n")
    code, out, _ = flowd("list", *MANIFESTS, "--manifests", str(path))
    assert (code, "HTTPRoute/store/split" in out) == (0, True)
    assert "odd.yaml:1: Service/odd: " in caplog.text


def test_list_shows_gateways_routes_and_rules(flowd: Flowd) -> None:
    code, out, err = flowd("list", *MANIFESTS)
    assert (code, err) == (0, "")
    gateways, routes, rules, wrong = (cells(part) for part in out.split("\n\n"))
    assert gateways[1] == ["store/front", "edge", "web", "80", "HTTP", "*", "2"]
    told = set(map(tuple, routes))
    assert (
        "HTTPRoute/stranger/intruder",
        "*",
        "store/front/web",
        "False NotAllowedByListeners (HTTPRoute of stranger on web)",
        "False BackendNotFound (stranger/own:80)",
    ) in told
    assert ["store/shop-next:80", "5", "1/1"] in rules
    assert any(row[-3:] == ["store/auth:80", "1", "1/2"] for row in rules)
    assert any("header version=2" in cell for row in rules for cell in row)
    assert any(row[-1] == "RefNotPermitted" for row in rules)
    told_wrong = "attached to nothing: no request can reach it"
    assert ["HTTPRoute/stranger/intruder", told_wrong] in wrong


def test_a_rule_that_is_left_out_keeps_its_place(flowd: Flowd, tmp_path: Path) -> None:
    rules = [
        {
            "matches": [{"path": {"type": "RegularExpression", "value": pattern}}],
            "backendRefs": [{"name": "back", "port": 80}],
        }
        for pattern in ("/a+", "(", "/b+", "(?=c)")
    ]
    item = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "odd", "namespace": "store"},
        "spec": {"parentRefs": [{"name": "front", "namespace": "store"}], "rules": rules},
    }
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(item))
    given = ("--manifests", str(path), *MANIFESTS)
    _, out, _ = flowd("list", *given)
    _, _, rules_shown, wrong = (cells(part) for part in out.split("\n\n"))
    at = next(at for at, row in enumerate(rules_shown) if row[0] == "HTTPRoute/store/odd")
    assert [row[1:3] for row in rules_shown[at : at + 4]] == [
        ["0", "RegularExpression /a+"],
        ["1", "left out"],
        ["2", "RegularExpression /b+"],
        ["3", "left out"],
    ]
    told = {row[1].partition(":")[0] for row in wrong if row[0] == "HTTPRoute/store/odd"}
    assert {"rule 1 is left out", "rule 3 is left out"} < told
    _, out, _ = flowd("split", *given, "-o", "json")
    assert {share["rule"] for share in json.loads(out) if share["route"] == "odd"} == {0, 2}
    _, out, _ = flowd("explain", *given, "--path", "/bb", "-o", "json")
    found = [entry for entry in json.loads(out)["considered"] if entry["name"] == "odd"]
    places = {(entry["rule"], entry["verdict"].partition(":")[0]) for entry in found}
    assert {(2, "taken"), (1, "left out"), (3, "left out")} < places


def test_a_list_of_nothing_says_so(flowd: Flowd, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
    assert flowd("list", "--manifests", str(path)) == (0, "no Gateway, route or Ingress\n", "")


def test_list_as_json(flowd: Flowd) -> None:
    _, out, _ = flowd("list", *MANIFESTS, "-o", "json")
    known = json.loads(out)
    (route,) = [route for route in known["routes"] if route["name"] == "split"]
    assert route["hostnames"] == ["www.store.test"]
    assert route["parents"][0]["conditions"][0] == {
        "type": "Accepted",
        "status": True,
        "reason": "Accepted",
        "message": "",
    }
    assert [backend["weight"] for backend in route["rules"][0]["backends"]] == [95, 5]
    assert [entry["name"] for entry in known["gateways"][0]["listeners"]][:2] == ["web", "secure"]


def test_split_from_manifests_shows_what_is_wanted(flowd: Flowd) -> None:
    code, out, _ = flowd("split", *MANIFESTS, "-o", "json")
    shares = {(share["rule"], share["backend"]): share for share in json.loads(out)[-20:]}
    assert code == 0
    assert shares[0, "shop-next"]["wanted"] == 0.05
    assert shares[0, "shop-next"]["requests"] is None
    _, table, _ = flowd("split", *MANIFESTS)
    assert "REQUESTS" not in table
    assert "95.0%" in table


def test_names_of_strangers_are_printable(flowd: Flowd, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        'metadata: {name: "a\\e[31mb"}\nspec: {hostnames: ["x\\u202e"]}\n'
    )
    _, out, _ = flowd("list", "--manifests", str(path))
    assert "a^[[31mb" in out
    assert "x\\u202e" in out


def test_list_without_anything_asks_an_agent(flowd: Flowd) -> None:
    code, _, err = flowd("list", "--server", "127.0.0.1:1")
    assert code == 3
    assert "cannot reach 127.0.0.1:1" in err
    code, _, err = flowd("list", *MANIFESTS, "--server", "127.0.0.1:1")
    assert code == 2


@pytest.fixture
async def agent() -> AsyncIterator[str]:
    """Address of an agent that attributed the recorded requests a moment ago."""
    directory, losses = Directory(), Losses()
    attributor = Attributor(directory, "eg")
    attributor.update(bundle("eg"))
    requests, _ = recorded("eg")
    attributor.attribute(requests)
    top = TopExporter(directory, losses, interval=0.05)
    top.observe(FlowBatch(empty_connections(), requests, empty_flows()))
    service = AgentService(
        directory,
        losses,
        top,
        status=list,
        routes=lambda: describe(attributor.table),
        explain=lambda request: explain_json(attributor.table, request),
    )
    server = ApiServer(["127.0.0.1:0"], [service.add_to])
    await server.start()
    queue: Queue[FlowBatch] = Queue("top", 1, losses)
    running = asyncio.create_task(top.run(queue))
    try:
        yield server.addresses[0]
    finally:
        queue.close()
        await running
        await server.stop()


async def ask(*args: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowd", "routes", *args, "-o", "json", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return json.loads(out)


async def test_an_agent_tells_routes_and_what_it_saw(agent: str) -> None:
    known = await ask("list", "--server", agent)
    assert {route["name"] for route in known["routes"]} >= {"web", "cart", "tcp"}
    assert known["routes"][0]["parents"][0]["listener"] == "http"
    request = ["--gateway", "infra/public", "--host", "www.shop.example", "--path", "/"]
    told = await ask("explain", "--server", agent, *request)
    assert told["outcome"]["route"]["name"] == "web"
    assert "taken" in [entry["verdict"] for entry in told["considered"]]
    shares = await ask("split", "--server", agent)
    main = [share for share in shares if share["rule_name"] == "main"]
    _, truths = recorded("eg")
    truth = Counter(
        entry.backend for entry in truths if entry.route and entry.route[:4] == (*WEB, 0)
    )
    seen = {f"shop/{share['backend']}:8080": share["requests"] for share in main}
    assert seen == {name: truth[name] for name in ("shop/web:8080", "shop/web-canary:8080")}
    assert [share["wanted"] for share in main] == [0.95, 0.05]
    assert sum(share["seen"] for share in main) == 1
