"""One resource, kept like the API server has it: list, watch from the list's version, and again."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from flowd.kubernetes.api.client import GONE, Api, ApiError, pause
from flowd.kubernetes.api.decode import (
    ERRORS,
    EVENTS,
    LISTS,
    NAMES,
    STATUSES,
    ListMeta,
    Malformed,
    Named,
    ObjectDecoder,
)
from flowd.kubernetes.api.limits import Limits
from flowd.kubernetes.api.resources import Resource
from flowd.kubernetes.api.store import Key, Store
from flowd.kubernetes.api.stream import Lines, ListItems, TooLarge
from flowd.kubernetes.objects.core import Object
from flowd.model.losses import Losses, Place
from flowd.text import printable

log = logging.getLogger(__name__)
NOT_FOUND = 404
# Statuses that say a version is no use: unknown, too old, too large for this server's cache
STALE = frozenset({400, GONE, 422, 504})


@dataclass(slots=True)
class Health:
    """How it goes with one resource; `contact` is monotonic seconds, 0 for never."""

    name: str
    contact: float = 0.0
    error: str = ""

    @property
    def tried(self) -> bool:
        """Whether there was an answer or a failure."""
        return bool(self.contact or self.error)

    def well(self) -> None:
        """There was an answer."""
        self.contact, self.error = time.monotonic(), ""

    def failed(self, error: str) -> None:
        """There was none, or a refusal."""
        if error != self.error:
            log.warning("kubernetes: %s: %s", self.name, error)
        self.error = error


class Reflector:
    """Keeps one resource of a store current until it is cancelled.

    A lost connection or a busy server is met by watching again from the last version; a version
    that the server no longer has (410), or a stream that cannot be understood, by a new list, in
    which whatever was deleted meanwhile is not found and so goes.

    Args:
        version: API version to ask for.
        missing: called when the server says that there is no such resource.
        noted: called after each answer or failure.
        lists: limits how many lists are under way at a time.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        version: str,
        store: Store,
        losses: Losses,
        limits: Limits,
        *,
        lists: asyncio.Semaphore,
        missing: Callable[[], None],
        noted: Callable[[], None],
    ) -> None:
        self.resource = resource
        self.version = version
        self.health = Health(resource.plural)
        self._api = api
        self._kind = resource.read_as
        self._path = resource.path(version)
        self._decoder = ObjectDecoder(resource)
        self._store = store
        self._losses = losses
        self._limits = limits
        self._lists = lists
        self._missing = missing
        self._noted = noted
        self._seen = ""
        self._listed = False
        self._newest = False
        self._open = False
        self._failures = 0

    async def run(self) -> None:
        """List and watch for ever."""
        while True:
            self._open = False
            try:
                if not self._listed:
                    async with self._lists:
                        await self._list()
                    self._noted()
                await self._watch()
            except ApiError as error:
                self._failures += 1
                if error.status in STALE:
                    self._listed = False
                # A watch that was open and ends tells nothing yet; not being let in again does.
                if error.status != GONE and not (self._open and self._listed):
                    self.health.failed(error.message)
                if error.status == NOT_FOUND:
                    self._missing()
                self._noted()
                await pause(error, self._failures, self._limits)

    async def _list(self) -> None:
        """Replace all objects, page by page.

        The first list takes whatever the server's cache has, a later one nothing older than what
        was seen, so neither costs the server's database anything; only when its cache cannot
        serve that version the newest is asked for.
        """
        limit = {"limit": str(self._limits.page)}
        if self._newest:
            params = limit
        elif self._seen:
            params = {"resourceVersion": self._seen, "resourceVersionMatch": "NotOlderThan"}
        else:
            params = {**limit, "resourceVersion": "0"}
        found: dict[Key, Object] = {}
        while True:
            try:
                page = await self._page(params, found)
            except ApiError as error:
                if error.status in STALE:
                    self._newest = True
                raise
            if not page.continue_:
                break
            params = {**limit, "continue": page.continue_}
        if not page.resource_version:
            raise ApiError("the list has no resourceVersion")
        self._store.replace(self._kind, found)
        self._seen, self._newest, self._listed = page.resource_version, False, True

    async def _page(self, params: dict[str, str], found: dict[Key, Object]) -> ListMeta:
        known = self._store.get(self._kind)
        items = ListItems(self._limits.object_bytes)
        try:
            accept = self.resource.accept(watch=False)
            stream = self._api.stream(self._path, params, self._limits.read, accept)
            async with stream as chunks:
                async for chunk in chunks:
                    for data in items.feed(chunk):
                        item = self._decode(data)
                        if item:
                            # What did not change stays where it is, so that a new list costs little
                            same = known.get(item.key)
                            found[item.key] = same if same == item and same else item
            page = LISTS.decode(items.rest).metadata
        except (*ERRORS, TooLarge) as error:
            raise ApiError(f"the list cannot be read: {printable(str(error), 200)}") from None
        self._dropped(items.dropped)
        self.health.well()
        return page

    async def _watch(self) -> None:
        """Take events until the server ends the watch."""
        limits, started = self._limits, time.monotonic()
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._seen,
            "timeoutSeconds": str(max(1, round(random.uniform(*limits.watch)))),
        }
        lines = Lines(limits.object_bytes)
        try:
            accept = self.resource.accept(watch=True)
            async with self._api.stream(self._path, params, limits.idle, accept) as chunks:
                self._open = True
                self.health.well()
                self._noted()
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        self._take(line)
                        self._failures = 0
                    self.health.well()
        finally:
            self._dropped(lines.dropped)
            lasted = time.monotonic() - started >= limits.lively
            if lasted:
                self._failures = 0
        if not lasted:
            self._failures += 1
            await pause(ApiError("the watch ended at once"), self._failures, limits)

    def _take(self, line: bytes) -> None:
        try:
            event = EVENTS.decode(line)
        except ERRORS as error:
            self._listed = False
            raise ApiError(f"the watch cannot be read: {printable(str(error), 200)}") from None
        if event.type == "ERROR":
            self._listed = False
            raise _told(event.object)
        try:
            named = NAMES.decode(event.object)
        except ERRORS as error:
            self._malformed("?", str(error))
            return
        if event.type in ("ADDED", "MODIFIED"):
            self._put(event.object, named)
        elif event.type == "DELETED":
            self._store.delete(self._kind, (named.metadata.namespace, named.metadata.name))
        self._seen = named.metadata.resource_version or self._seen

    def _put(self, data: msgspec.Raw, named: Named) -> None:
        item = self._decode(data)
        if item:
            self._store.put(item)
        else:
            # What it was is no longer true, and what it is cannot be told.
            self._store.delete(self._kind, (named.metadata.namespace, named.metadata.name))

    def _decode(self, data: bytes | msgspec.Raw) -> Object | None:
        try:
            return self._decoder.decode(data)
        except Malformed as error:
            try:
                name = NAMES.decode(data).metadata
                self._malformed(f"{name.namespace}/{name.name}", str(error))
            except ERRORS:
                self._malformed("?", str(error))
        return None

    def _malformed(self, name: str, problem: str) -> None:
        self._losses.add(Place.MANIFEST, "invalid_object")
        what, why = printable(name, 320), printable(problem, 300)
        log.warning("kubernetes: %s left out: %s: %s", self.resource.plural, what, why)

    def _dropped(self, count: int) -> None:
        if count:
            self._losses.add(Place.MANIFEST, "too_large", count)
            size = self._limits.object_bytes >> 20
            log.warning(
                "kubernetes: %s: %d objects over %d MiB left out", self.resource.plural, count, size
            )


def _told(status: msgspec.Raw) -> ApiError:
    """The error that a watch's ERROR event carries."""
    try:
        told = STATUSES.decode(status)
    except ERRORS:
        return ApiError("the watch ended with an error that cannot be read")
    return ApiError(f"{told.code} {printable(told.message or told.reason, 200)}", told.code)
