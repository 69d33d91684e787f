"""Store contents after each behaviour of API server and network."""

from dataclasses import replace
from pathlib import Path

import pytest

from flowd.kubernetes.api.limits import ApiLimits
from flowd.model.status import State
from tests.fakes.kube_api import (
    HTTP_ROUTES,
    NODES,
    PODS,
    SERVICES,
    SLICES,
    FakeKubeApi,
    Fault,
    event,
    http_route,
    pod,
    status,
    until,
)
from tests.support.kube_client import FAST, following


@pytest.fixture
def api() -> FakeKubeApi:
    double = FakeKubeApi()
    for number in range(7):
        double.put(PODS, pod(f"p{number}", f"10.0.0.{number + 1}"))
    return double


SEVEN = {f"p{number}" for number in range(7)}


async def test_list_then_watch_from_its_version(api: FakeKubeApi, tmp_path: Path):
    listed = str(api.version)
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        assert client.names() == SEVEN
        assert api.seen(PODS) == [{"limit": "3", "resourceVersion": "0"}]
        watch = api.seen(PODS, watch=True)[0]
        assert watch["resourceVersion"] == listed
        assert watch["allowWatchBookmarks"] == "true"
        assert 300 <= int(watch["timeoutSeconds"]) <= 600
        api.put(PODS, pod("new", "10.0.1.1"))
        api.put(PODS, pod("p0", "10.0.1.2"))
        api.delete(PODS, "shop", "p1")
        await until(lambda: "p1" not in client.names())
        assert client.names() == SEVEN - {"p1"} | {"new"}
        assert client.objects()["shop", "p0"].addresses() == ["10.0.1.2"]
        await until(lambda: client.cluster.status().state == State.ON)


async def test_a_server_that_pages(api: FakeKubeApi, tmp_path: Path):
    api.cache_ignores_limit = False
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: client.names() == SEVEN)
        first, second, third = api.seen(PODS)
        assert first == {"limit": "3", "resourceVersion": "0"}
        assert second.keys() == third.keys() == {"limit", "continue"}


async def test_continue_token_expires_between_pages(api: FakeKubeApi, tmp_path: Path):
    api.cache_ignores_limit = False
    api.fail(PODS, Fault())
    api.fail(PODS, Fault(status=410))
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: client.names() == SEVEN)
        assert api.seen(PODS)[2] == {"limit": "3"}


async def test_slow_pages_and_bytes_cut_anywhere(api: FakeKubeApi, tmp_path: Path):
    api.page_slice = 7
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        assert client.names() == SEVEN
        api.put(PODS, pod("new", "10.0.1.1"))
        await until(lambda: "new" in client.names())


async def test_bookmarks_move_the_version(api: FakeKubeApi, tmp_path: Path):
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        api.bookmark(PODS)
        marked = str(api.version)
        api.cut(PODS)
        await until(lambda: len(api.seen(PODS, watch=True)) == 2)
        assert api.seen(PODS, watch=True)[1]["resourceVersion"] == marked
        assert len(api.seen(PODS)) == 1
        assert client.names() == SEVEN


async def test_deletes_while_away_are_noticed_after_gone_in_the_stream(
    api: FakeKubeApi, tmp_path: Path
):
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        seen = str(api.version)
        api.fail(PODS, Fault(status=503), watch=True)
        api.cut(PODS)
        await until(lambda: not api.watchers(PODS))
        api.delete(PODS, "shop", "p0")
        api.put(PODS, pod("new", "10.0.1.1"))
        api.compact()
        await until(lambda: client.names() == SEVEN - {"p0"} | {"new"})
        assert api.seen(PODS)[1] == {
            "resourceVersion": seen,
            "resourceVersionMatch": "NotOlderThan",
        }
        await until(lambda: client.cluster.status().state == State.ON)


async def test_gone_as_http_status_of_the_watch(api: FakeKubeApi, tmp_path: Path):
    api.fail(PODS, Fault(status=410), watch=True)
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        assert len(api.seen(PODS)) == 2
        assert client.names() == SEVEN


async def test_a_server_whose_cache_is_behind_is_asked_for_the_newest(
    api: FakeKubeApi, tmp_path: Path
):
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        # Restored from a backup: the resourceVersions are smaller than the last one seen.
        api.objects[PODS].pop(("shop", "p0"))
        api.version = 50
        api.history.clear()
        api.send(PODS, event("ERROR", {"code": 410, "message": "too old"}))
        await until(lambda: client.names() == SEVEN - {"p0"})
        assert api.seen(PODS)[-2] == {"limit": "3"}


async def test_connection_cut_in_mid_line(api: FakeKubeApi, tmp_path: Path):
    api.fail(PODS, Fault(cut=40), watch=True)
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        api.put(PODS, pod("new", "10.0.1.1"))
        await until(lambda: "new" in client.names())
        assert len(api.seen(PODS, watch=True)) == 2
        assert len(api.seen(PODS)) == 1


async def test_list_cut_in_the_middle_replaces_nothing(api: FakeKubeApi, tmp_path: Path):
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        api.fail(PODS, Fault(cut=900))
        api.send(PODS, event("ERROR", {"code": 410}))
        await until(lambda: len(api.seen(PODS)) == 2)
        assert client.names() == SEVEN
        await until(lambda: len(api.seen(PODS)) == 3)


@pytest.mark.parametrize(
    "body", [b"<html>proxy error</html>", b'{"items": [{}', b"null", b"[]", b""]
)
async def test_a_list_that_is_none(api: FakeKubeApi, tmp_path: Path, body: bytes):
    api.fail(PODS, Fault(garbage=body))
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: client.names() == SEVEN)
        assert len(api.seen(PODS)) == 2


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[]\n", b"\xff\xfe\n", b'{"type":"ERROR","object":7}\n']
)
async def test_a_watch_line_that_is_none_means_a_new_list(
    api: FakeKubeApi, tmp_path: Path, line: bytes
):
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        api.objects[PODS].pop(("shop", "p0"))
        api.send(PODS, line)
        await until(lambda: client.names() == SEVEN - {"p0"})


async def test_unknown_fields_nulls_and_event_types(api: FakeKubeApi, tmp_path: Path):
    meta = {"name": "s", "namespace": "shop", "labels": None, "annotations": {"n": "1"}}
    api.put(SLICES, {"metadata": meta, "addressType": "IPv4", "endpoints": None, "ports": None})
    api.serve(HTTP_ROUTES)
    api.put(HTTP_ROUTES, http_route("r"))
    api.put(PODS, pod("odd", "10.0.9.9", futureField={"deep": [{"er": None}]}))
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: client.names("http_routes") == {"r"} and api.watchers(PODS))
        assert client.names("slices") == {"s"}
        assert client.names() == SEVEN | {"odd"}
        api.send(PODS, event("PROGRESS", {"metadata": {"resourceVersion": "9999"}}))
        api.put(PODS, pod("new", "10.0.1.1"))
        await until(lambda: "new" in client.names())
        assert client.losses.total() == 0


async def test_huge_annotations_are_read_and_not_kept(api: FakeKubeApi, tmp_path: Path):
    big = pod("big", "10.0.9.9")
    big["metadata"]["annotations"] = {"blob": '"{[\\' * 250_000}
    api.put(PODS, big)
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        assert client.names() == SEVEN | {"big"}
        api.put(PODS, {**big, "status": {"podIP": "10.0.9.10"}})
        await until(lambda: client.objects()["shop", "big"].addresses() == ["10.0.9.10"])


async def test_objects_over_the_limit_are_counted(api: FakeKubeApi, tmp_path: Path):
    big = pod("big", "10.0.9.9")
    big["metadata"]["annotations"] = {"blob": "x" * 5000}
    api.put(PODS, big)
    limits = replace(FAST, object_bytes=4000)
    async with api.running(), following(api, tmp_path, limits) as client:
        await until(lambda: api.watchers(PODS))
        assert client.names() == SEVEN
        assert client.lost("too_large") == 1


async def test_objects_of_wrong_types_are_counted_and_left_out(api: FakeKubeApi, tmp_path: Path):
    api.put(PODS, {"metadata": {"name": "bad", "namespace": "shop"}, "status": {"podIP": 7}})
    api.put(PODS, pod("worse", "not an address"))
    api.put(SERVICES, {"metadata": {"namespace": "shop", "name": "s"}, "spec": {"ports": "80"}})
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS) and api.watchers(SERVICES))
        assert client.names() == SEVEN
        assert client.lost("invalid_object") == 3
        # A valid object became invalid: its old state is outdated.
        api.put(PODS, pod("p0", "10.0.0.999"))
        await until(lambda: "p0" not in client.names())
        assert client.lost("invalid_object") == 4
        api.put(PODS, pod("p0", "10.0.0.9"))
        await until(lambda: "p0" in client.names())


async def test_updates_of_fields_that_are_not_kept_change_nothing(api: FakeKubeApi, tmp_path: Path):
    node = {"metadata": {"name": "n"}, "status": {"conditions": [{"lastHeartbeatTime": "1"}]}}
    api.put(NODES, node)
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(NODES) and api.watchers(PODS))
        client.cluster.store.changed.clear()
        api.put(NODES, {**node, "status": {"conditions": [{"lastHeartbeatTime": "2"}]}})
        heartbeat = str(api.version)
        api.cut(NODES)
        await until(lambda: len(api.seen(NODES, watch=True)) == 2)
        assert api.seen(NODES, watch=True)[1]["resourceVersion"] == heartbeat
        assert not client.cluster.store.changed.is_set()


async def test_bursts_of_429_and_500(api: FakeKubeApi, tmp_path: Path):
    api.fail(PODS, Fault(status=429, headers={"Retry-After": "1"}), times=3)
    api.fail(PODS, Fault(status=500), times=3)
    api.fail(PODS, Fault(status=500), times=4, watch=True)
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        assert client.names() == SEVEN
        assert len(api.seen(PODS)) == 7
        assert len(api.seen(PODS, watch=True)) == 5
        await until(lambda: client.cluster.status().state == State.ON)


async def test_error_event_that_is_not_gone(api: FakeKubeApi, tmp_path: Path):
    async with api.running(), following(api, tmp_path) as client:
        await until(lambda: api.watchers(PODS))
        api.objects[PODS].pop(("shop", "p0"))
        api.send(PODS, b'{"type":"ERROR","object":' + status(500) + b"}\n")
        await until(lambda: client.names() == SEVEN - {"p0"})


@pytest.mark.parametrize("watch", [False, True])
async def test_half_open_connection(api: FakeKubeApi, tmp_path: Path, watch: bool):
    api.fail(PODS, Fault(hang=True), watch=watch)
    limits = replace(FAST, read=0.2, watch_idle=0.2)
    async with api.running(), following(api, tmp_path, limits) as client:
        await until(lambda: api.hanging)
        await until(lambda: api.watchers(PODS))
        assert client.names() == SEVEN


async def test_a_watch_that_fell_silent_is_opened_again(api: FakeKubeApi, tmp_path: Path):
    limits = replace(FAST, watch_idle=0.1)
    async with api.running(), following(api, tmp_path, limits) as client:
        await until(lambda: len(api.seen(PODS, watch=True)) > 2)
        assert len(api.seen(PODS)) == 1
        assert client.names() == SEVEN


def test_a_silent_watch_outlives_two_bookmarks_and_ends_before_the_server_forgets_it():
    limits = ApiLimits()
    assert 2 * 60 < limits.watch_idle < limits.watch_timeout[0] < limits.watch_timeout[1]
