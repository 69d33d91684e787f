"""Agent without the privilege to load programs: one warning, and routes still work."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from demo.cluster.errors import DemoError
from demo.lifecycle import Demo, envoy_binary
from tests.e2e.agent import flowd, free_port, running

REQUESTS = 200

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.envoy,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else"),
]


def test_access_logs_alone_still_show_routes(tmp_path: Path) -> None:
    try:
        envoy_binary()
    except DemoError as error:
        pytest.skip(error.message)
    als = f"127.0.0.1:{free_port()}"
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    with (
        Demo(tmp_path / "state", loopback=True, als=als) as demo,
        running(
            tmp_path / "log", "--manifests", str(demo.manifests), als=als, nobody=True
        ) as agent,
    ):
        assert agent.text().count("no kernel capture, access logs only") == 1
        sent = [s for s in demo.run_traffic(REQUESTS) if s.listener != "tls"]
        flows: list[dict[str, Any]] = []
        for _ in range(50):
            shown = flowd("observe", "--all", "-o", "json", "--server", agent.hubble)
            flows = [json.loads(line)["flow"] for line in shown.stdout.splitlines()]
            if len(flows) >= 2 * len(sent):
                break
            time.sleep(0.2)
        status = json.loads(flowd("status", "--server", agent.hubble, "-o", "json").stdout)
        assert agent.stop() == 0
    assert "Traceback" not in agent.text()
    assert len(flows) == 2 * len(sent)
    told = Counter(flow["extensions"]["value"].get("route") for flow in flows)
    wanted = Counter(
        f"{s.route.kind}/{s.route.namespace}/{s.route.name}" if s.route else None for s in sent
    )
    assert told == {route: 2 * count for route, count in wanted.items()}
    assert '"off"' in json.dumps(status)
