"""Reports: table, JSON, JUnit, HTML; every string of a request is escaped."""

import json
from xml.etree import ElementTree

from flowd.parity.catalog import CAUSES, advice, explain
from flowd.parity.compare.causes import UNEXPLAINED
from flowd.parity.compare.comparison import Summary
from flowd.parity.compare.differences import ParityVerdict
from flowd.parity.report.html_report import html_page
from flowd.parity.report.json_report import json_lines
from flowd.parity.report.junit import junit
from flowd.parity.report.table import table
from tests.support.parity_objects import before, compared, gateway, ingress, rule

OLD = before(ingress("a", ("/", "Prefix", "web")))
NEW = gateway(rule("/", "web"))
EVIL = "/<script>alert(1)</script>\x1b[2J//"


def results() -> tuple[list[ParityVerdict], Summary]:
    """One verdict of each kind that these objects give."""
    unknown = before(ingress("a", ("/", "Prefix", "web"), denylist_source_range="192.0.2.0/24"))
    verdicts = [
        compared(OLD, NEW, "/a"),
        compared(OLD, NEW, EVIL),
        compared(unknown, NEW, "/a"),
        compared(OLD, gateway(rule("/", "web"), controller="unknown"), "/a%2Fb"),
    ]
    summary = Summary()
    for verdict in verdicts:
        summary.add(verdict)
    summary.unattributed["without host"] = 3
    return verdicts, summary


def test_the_four_verdicts_are_there() -> None:
    verdicts, summary = results()
    assert [each.verdict for each in verdicts] == ["same", "different", "unknown", "depends"]
    assert summary.share_different == 0.25


def test_the_table_names_cause_example_and_change() -> None:
    text = table(*results())
    assert "4 requests, same 1 (25.00 %)" in text
    assert "not compared: 3 without host" in text
    for part in ("DIFFERENT  merge-slashes", "UNKNOWN    ip-allowlist", "differs  with eg"):
        assert part in text
    assert "\x1b" not in text
    same = [compared(OLD, NEW, "/a")]
    summary = Summary()
    summary.add(same[0])
    assert "No request would be treated differently." in table(same, summary)


def test_json_has_a_line_for_each_kind_and_one_for_the_summary() -> None:
    lines = [json.loads(line) for line in json_lines(*results())]
    assert len(lines) == 5
    assert lines[1]["verdict"] == "different"
    assert lines[1]["cause"] == "merge-slashes"
    assert lines[1]["before"]["backend"] == "shop/web:80"
    assert lines[3]["implementations"] == ["eg"]
    assert lines[4]["summary"] == {
        "requests": 4,
        "same": 1,
        "different": 1,
        "unknown": 1,
        "depends": 1,
        "by_cause": {"merge-slashes": 1, "ip-allowlist": 1, "escaped-slash": 1},
        "unattributed": {"without host": 3},
    }


def test_junit_fails_for_differences_only() -> None:
    suite = ElementTree.fromstring(junit(*results()))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "1", "2")
    [failure] = suite.iter("failure")
    assert (failure.get("message") or "").startswith("merge-slashes")


def test_the_page_runs_and_loads_nothing() -> None:
    page = html_page(*results())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "default-src 'none'" in page
    assert "http-equiv" in page
    assert "src=" not in page


def test_every_cause_is_explained() -> None:
    assert UNEXPLAINED in CAUSES
    assert all(explain(cause) and advice(cause) for cause in CAUSES)
    assert explain("other") == "other"
