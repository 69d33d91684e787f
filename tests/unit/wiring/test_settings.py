"""Settings that reach their parts: redaction after attribution, flow logs in status and metrics."""

from pathlib import Path

import msgspec
import pytest

from flowd.agent import Agent
from flowd.errors import UsageError
from flowd.model.records.request import empty_requests
from flowd.settings import Settings
from flowd.wiring.inputs import ACCESS_LOG_SOURCES


def settings(**more: object) -> Settings:
    quiet: dict[str, object] = {
        "capture": "off",
        "als_listen": "",
        "hubble_listen": "",
        "metrics_listen": "",
    }
    return msgspec.convert(quiet | more, Settings)


def test_requests_are_redacted_when_their_route_is_known() -> None:
    agent = Agent(
        settings(redact=True, redact_http_query=True, redact_http_headers_allow=("x-team",))
    )
    batch = empty_requests(1)
    batch["path"], batch["host"] = "/a?token=s3cret", "ann:s3cret@shop.example"
    batch["headers"][0] = {"authorization": "s3cret", "x-team": "blue"}
    redacted = agent.parts.attribute(batch)
    assert "s3cret" not in str(redacted.tolist())
    assert redacted["headers"][0]["x-team"] == "blue"


def test_flow_logs_are_in_status_and_metrics(tmp_path: Path) -> None:
    config = tmp_path / "logs.yaml"
    config.write_text(f"flowLogs: [{{name: more, filePath: '{tmp_path / 'more.log'}'}}]")
    agent = Agent(
        settings(
            flow_log=str(tmp_path / "all.log"),
            flow_log_denylist='{"protocol":["dns"]}',
            flow_log_config=str(config),
        )
    )
    parts = {part.part for part in agent.status()}
    assert {"flowlog", "flowlog/static", "flowlog/more"} <= parts
    registry = agent.outputs.prometheus.registry
    for name in ("static", "more"):
        assert registry.get_sample_value("flowd_flow_log_up", {"flow_log": name}) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"redact_http_query": True},
        {"flow_log": "x.log", "flow_log_allowlist": "no"},
        {"flow_log_config": "nowhere.yaml"},
    ],
    ids=str,
)
def test_wrong_settings_are_usage_errors(
    wrong: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        Agent(settings(**wrong))


def test_every_source_reports_under_the_name_of_its_part(tmp_path: Path) -> None:
    every = {
        "als_listen": "127.0.0.1:0",
        "access_log": (str(tmp_path / "access.log"),),
        "otlp_logs_listen": "127.0.0.1:0",
        "state_dir": str(tmp_path),
    }
    agent = Agent(settings(**every))
    assert list(agent.inputs.requests) == [kind.part for kind in ACCESS_LOG_SOURCES]
    for part, source in agent.inputs.requests.items():
        assert {status.part for status in source.status()} == {part}
