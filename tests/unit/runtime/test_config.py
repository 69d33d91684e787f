"""Flag over environment over file over default, and what is told when one is wrong."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from flowd.cli import flowd
from flowd.config import load, setting_table, unknown_variables
from flowd.errors import UsageError


def test_each_layer_wins_over_the_one_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "flowd.yaml"
    file.write_text("als_listen: 1.1.1.1:1\ncluster_name: file\ninterface: [eth0]\nmax_series: 7\n")
    monkeypatch.setenv("FLOWD_CLUSTER_NAME", "environment")
    monkeypatch.setenv("FLOWD_INTERFACE", "eth1, !lo")
    monkeypatch.setenv("FLOWD_MAX_SERIES", "8")
    loaded = load({"max_series": "9"}, str(file))
    settings = loaded.settings
    assert settings.als_listen == "1.1.1.1:1"
    assert settings.cluster_name == "environment"
    assert settings.interface == ("eth1", "!lo")
    assert settings.max_series == 9
    assert loaded.origins["als_listen"] == f"file {file}"
    assert loaded.origins["cluster_name"] == "environment FLOWD_CLUSTER_NAME"
    assert loaded.origins["max_series"] == "flag"
    assert loaded.origins["dialect"] == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("als_lsten: x", "unknown setting 'als_lsten', did you mean 'als_listen'?"),
        ("max_series: many", "max_series: 'many' cannot be used"),
        ("max_series: 0", "max_series: 0 cannot be used"),
        ("capture: maybe", "capture: 'maybe' cannot be used"),
        ("- a\n- b", "must be a mapping"),
        ("a: [1", ":1 is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "flowd.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load({}, str(file))
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.code == 2


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot read configuration /nowhere/x\.yaml"):
        load({}, "/nowhere/x.yaml")


def test_kubernetes_service_variables_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWD_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("FLOWD_PORT_9965_TCP", "tcp://10.0.0.1:9965")
    monkeypatch.setenv("FLOWD_MAX_SERIE", "1")
    assert unknown_variables() == ["FLOWD_MAX_SERIE"]


def test_in_a_cluster_the_hubble_api_is_where_a_relay_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load({}).settings.hubble_listen == "127.0.0.1:4245"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    assert load({}).settings.hubble_listen == "0.0.0.0:4244"


def test_every_setting_has_a_flag_a_variable_and_a_sentence() -> None:
    run_help = CliRunner().invoke(flowd, ["config", "show", "--help"]).output
    for info in setting_table():
        assert info.flag in run_help
        assert info.variable in run_help
        assert info.description.endswith(".")


def test_config_show_tells_values_and_origins() -> None:
    result = CliRunner().invoke(
        flowd, ["config", "show", "--als-listen", "9.9.9.9:9", "-o", "json"]
    )
    assert result.exit_code == 0
    assert '"setting": "als_listen"' in result.output
    assert '"origin": "flag"' in result.output
