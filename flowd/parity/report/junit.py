"""The report as JUnit XML: a test case for each kind of request, a failure for each difference."""

from collections.abc import Sequence
from xml.etree import ElementTree

from flowd.parity.catalog import explain
from flowd.parity.compare.comparison import Summary
from flowd.parity.compare.differences import ParityVerdict
from flowd.parity.report.table import outcome_text, request_text


def junit(verdicts: Sequence[ParityVerdict], summary: Summary) -> str:
    """One test suite; `unknown` and `depends` are skipped cases that say why."""
    failed = sum(each.verdict == "different" for each in verdicts)
    skipped = sum(each.verdict in ("unknown", "depends") for each in verdicts)
    suite = ElementTree.Element(
        "testsuite",
        name="flowd parity",
        tests=str(len(verdicts)),
        failures=str(failed),
        skipped=str(skipped),
    )
    for verdict in verdicts:
        name = request_text(verdict.request)
        case = ElementTree.SubElement(
            suite, "testcase", classname=verdict.request.host or "-", name=name
        )
        if verdict.verdict == "same":
            continue
        kind = "failure" if verdict.verdict == "different" else "skipped"
        problem = ElementTree.SubElement(
            case, kind, message=f"{verdict.cause}: {explain(verdict.cause)}"
        )
        problem.text = (
            f"requests: {verdict.request.count} of {summary.requests}\n"
            f"before: {outcome_text(verdict.before)}\nafter: {outcome_text(verdict.after)}"
        )
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
