"""Real agent on access-log files and OTLP logs: every logged request becomes a flow."""

import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.agent import PATIENCE, flowd, running
from tests.support.attribution_truth import LOGS, manifests

pytestmark = pytest.mark.e2e
EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"


def requests(server: str, count: int) -> list[dict[str, Any]]:
    """Requests from the agent's Hubble API, once there are as many as wanted."""
    deadline = time.monotonic() + PATIENCE
    while True:
        words = ["observe", "--server", server, "--last", "2000", "--type", "l7", "-o", "json"]
        found = flowd(*words)
        flows = [json.loads(line)["flow"] for line in found.stdout.splitlines()]
        seen = [flow for flow in flows if flow["l7"]["type"] == "REQUEST"]
        if len(seen) >= count or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


def test_a_file_and_otlp_logs_at_once(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    options = ["--capture", "off", "--access-log", str(tmp_path / "*.log"), *manifests("eg")]
    options += ["--otlp-logs-listen", "127.0.0.1:0", "--state-dir", str(tmp_path / "state")]
    with running(tmp_path / "agent.out", *options) as agent:
        with gzip.open(LOGS / "eg.http.default.jsonl.gz", "rb") as file:
            log.write_bytes(file.read())
        address = re.findall(r"otlp_logs=(\S+)", agent.text())[-1]
        data, at = gzip.decompress((LOGS / "eg.otlp.bin.gz").read_bytes()), 0
        channel: Any = grpc.insecure_channel(address)
        with channel:
            export = channel.unary_unary(EXPORT)
            while at < len(data):
                size = int.from_bytes(data[at : at + 4], "big")
                export(data[at + 4 : at + 4 + size])
                at += 4 + size
        seen = requests(agent.hubble, 360)
        assert len(seen) == 360
        routed = [flow for flow in seen if "route" in flow["extensions"]["value"]]
        assert len(routed) == 2 * 176
        status = flowd("status", "--server", agent.hubble).stdout
        assert "access-log" in status
        assert "otlp-logs" in status
        assert agent.stop() == 0
    assert (tmp_path / "state" / "access-log-positions.json").is_file()
