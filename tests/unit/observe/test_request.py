"""GetFlowsRequest of `flowd observe`."""

import pytest
from google.protobuf.struct_pb2 import Struct

from flowd.errors import UsageError
from flowd.observe.options.request import (
    ALL_FLOWS,
    PRINTED_FIELDS,
    Selection,
    apply_routes,
    field_mask,
)
from flowd.wire.observer.observer_pb2 import GetFlowsRequest

NOW = 1_795_252_500_000_000_000


def asked(selection: Selection) -> GetFlowsRequest:
    request = GetFlowsRequest()
    selection.apply(request, NOW)
    return request


@pytest.mark.parametrize(
    ("selection", "number", "first", "follow"),
    [
        (Selection(), 20, False, False),
        (Selection(last=5), 5, False, False),
        (Selection(first=5), 5, True, False),
        (Selection(all=True), ALL_FLOWS, False, False),
        (Selection(follow=True), 0, False, True),
        (Selection(follow=True, last=7), 7, False, True),
        (Selection(follow=True, all=True), ALL_FLOWS, False, True),
        (Selection(since="5m"), 0, False, False),
        (Selection(until="5m"), 0, False, False),
        (Selection(since="5m", last=3), 3, False, False),
    ],
)
def test_selectors(selection: Selection, number: int, first: bool, follow: bool) -> None:
    request = asked(selection)
    assert (request.number, request.first, request.follow) == (number, first, follow)


def test_times_are_sent_and_follow_drops_the_end() -> None:
    request = asked(Selection(since="90s", until="30s"))
    assert request.since.ToNanoseconds() == NOW - 90_000_000_000
    assert request.until.ToNanoseconds() == NOW - 30_000_000_000
    following = asked(Selection(since="90s", until="30s", follow=True))
    assert following.HasField("since")
    assert not following.HasField("until")


@pytest.mark.parametrize(
    "selection",
    [
        Selection(first=1, last=1),
        Selection(first=1, all=True),
        Selection(first=1, follow=True),
        Selection(last=1, all=True),
        Selection(since="soon"),
        Selection(until="2026-99-01"),
        Selection(since="0001-01-01T00:00:00+23:59"),
    ],
)
def test_selectors_that_cannot_be(selection: Selection) -> None:
    with pytest.raises(UsageError):
        asked(selection)


def test_route_filters_travel_as_a_struct_of_lists() -> None:
    request = GetFlowsRequest()
    apply_routes(request, {"route": ("HTTPRoute/shop/web", "shop/admin"), "gateway": ()})
    struct = Struct()
    assert request.extensions.Unpack(struct)
    assert {key: list(value.list_value) for key, value in struct.fields.items()} == {
        "route": ["HTTPRoute/shop/web", "shop/admin"]
    }


def test_no_route_filters_send_no_extension() -> None:
    request = GetFlowsRequest()
    apply_routes(request, {"route": ()})
    assert not request.HasField("extensions")


def test_printed_fields_are_fields() -> None:
    assert len(PRINTED_FIELDS) == 27
    assert list(field_mask(PRINTED_FIELDS).paths) == list(PRINTED_FIELDS)
