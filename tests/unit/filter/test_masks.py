"""Masks over random flows equal the naive evaluator over messages of the same flows."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.filter import compile_filters, message_filter
from flowd.wire.flow.flow_pb2 import FlowFilter
from flowd_exporters.hubble.encode.flow_to_protobuf import FlowEncoder
from tests.support.filter_values import FILTERS, VALUES, filter_of, varied, with_uuids
from tests.support.slow_filter import ONE, matches, passes

FIELDS = set(FlowFilter.DESCRIPTOR.fields_by_name)
NEVER = {"ip_trace_id"}
"""Fields without a column in flowd's flows."""


def test_no_field_is_forgotten() -> None:
    assert set(ONE) == set(VALUES) == FIELDS


@settings(max_examples=120, deadline=None)
@given(FILTERS, FILTERS, st.integers(0, 2**32 - 1))
def test_masks_and_messages_equal_the_plain_evaluator(
    white: list[FlowFilter], black: list[FlowFilter], seed: int
) -> None:
    directory, rows, flows = varied(seed)
    white, black = with_uuids(white, flows), with_uuids(black, flows)
    expected = [passes(flow, white, black) for flow in flows]
    select = compile_filters(white, black, directory, messages=FlowEncoder(directory).encode)
    assert select(rows).tolist() == expected
    test = message_filter(white, black)
    assert [test(flow) for flow in flows] == expected


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_value_of_a_field_alone(name: str) -> None:
    answers: set[bool] = set()
    for seed in range(9):
        directory, rows, flows = varied(seed)
        for value in VALUES[name]:
            (wanted,) = with_uuids([filter_of({name: [value]})], flows)
            expected = [matches(flow, wanted) for flow in flows]
            encode = FlowEncoder(directory).encode
            select = compile_filters([wanted], [], directory, messages=encode)
            assert select(rows).tolist() == expected
            test = message_filter([wanted], [])
            assert [test(flow) for flow in flows] == expected
            answers.update(expected)
    assert answers == ({False} if name in NEVER else {True, False})
