"""CEL expressions over `_flow`: values, rejected expressions, CPU bound."""

import pytest

from flowd.filter import (
    CostlyFilter,
    ExpressionError,
    FilterError,
    UnsupportedFilter,
    compile_filters,
    message_filter,
)
from flowd.wire.flow.flow_pb2 import FlowFilter
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.flow_samples import SAMPLES, cluster, sample_rows

ALL = set(SAMPLES)


def asked(*expressions: str, **more: list[str]) -> FlowFilter:
    return FlowFilter(experimental={"cel_expression": expressions}, **more)  # type: ignore[arg-type]


CASES: list[tuple[FlowFilter, set[str]]] = [
    (asked("true"), ALL),
    (asked("false"), set()),
    (asked("_flow.verdict == Verdict.DROPPED"), {"drop"}),
    (asked("_flow.verdict == flow.Verdict.DROPPED", "has(_flow.l7.dns)"),
     {"drop", "query", "answer"}),
    (asked("_flow.l4.TCP.destination_port == 8080u"), {"syn", "request"}),
    (asked("_flow.l7.http.url.matches('^http://shop') && _flow.l7.http.code >= 500u"),
     {"response"}),
    (asked("_flow.source.labels.exists(l, l == 'k8s:app=web')", protocol=["udp"]),
     {"dns", "query"}),
    (asked("_flow.is_reply == null", "'api.example.net' in _flow.destination_names"),
     {"drop", "outside"}),
    (asked("_flow.time > timestamp('2027-01-01T00:00:00Z')"), set()),
    (asked("1 / 0 == 1"), set()),
    (asked("_flow.source.labels[0] == 'reserved:world'"), {"request", "drop"}),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "expected"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_an_expression_matches_its_flows(wanted: FlowFilter, expected: set[str]) -> None:
    directory = cluster()
    encoder = FlowEncoder(directory)
    mask = compile_filters([wanted], [], directory, messages=encoder.encode)(sample_rows())
    assert {name for name, hit in zip(SAMPLES, mask.tolist(), strict=True) if hit} == expected
    denied = compile_filters([], [wanted], directory, messages=encoder.encode)(sample_rows())
    assert denied.tolist() == [not hit for hit in mask.tolist()]
    test = message_filter([wanted], [])
    assert [test(flow) for flow in encoder.encode(sample_rows())] == mask.tolist()


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("_flow.nope", "1:6: undefined field 'nope'"),
        ("true &&\n &&", "2:2:"),
        ("_flow.l4.TCP.destination_port == 80", "1:31:"),
        ("1 + 1", "int"),
        ("dyn(true)", "dyn"),
        ("unknown_function(_flow)", "unknown_function"),
        ("'" + "x" * 5000 + "' == ''", "4096"),
        ("(" * 2000 + "true" + ")" * 2000, "cel_expression"),
        ("", "cel_expression"),
    ],
)
def test_what_does_not_compile_is_refused_with_its_place(expression: str, told: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        message_filter([asked(expression)], [])
    assert told in caught.value.message
    assert len(caught.value.message) < 600


def test_loops_without_end_are_cut_off() -> None:
    loops = "_flow.uuid != ''"
    for name in "abcd":
        loops = f"[{','.join(['1'] * 60)}].all({name}, {loops})"
    wanted = asked(loops)
    rows = sample_rows()
    select = compile_filters([wanted], [], cluster(), messages=FlowEncoder(cluster()).encode)
    assert not select(rows).any()


def test_expressions_that_take_too_long_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowd.filter.cost.MAX_BATCH_SECONDS", -1.0)
    select = compile_filters(
        [asked("_flow.uuid != ''")], [], cluster(), messages=FlowEncoder(cluster()).encode
    )
    with pytest.raises(CostlyFilter):
        select(sample_rows())


def test_without_messages_or_library_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedFilter):
        compile_filters([asked("true")], [], cluster())
    monkeypatch.setattr("flowd.filter.grammar.cel._environment", _missing)
    with pytest.raises(FilterError, match="cel-expr-python"):
        message_filter([asked("true")], [])


def _missing() -> None:
    raise UnsupportedFilter("cel_expression: CEL needs cel-expr-python")
