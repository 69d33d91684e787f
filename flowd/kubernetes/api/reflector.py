"""Reflector: list and watch one resource of the API server into the object store."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from flowd.kubernetes.api.client import GONE, ApiClient, ApiError, backoff_sleep
from flowd.kubernetes.api.decode import (
    DECODE_ERRORS,
    LIST_DECODER,
    METADATA_DECODER,
    STATUS_DECODER,
    WATCH_EVENT_DECODER,
    ListMeta,
    MalformedObject,
    ObjectDecoder,
    PartialObjectMetadata,
)
from flowd.kubernetes.api.limits import ApiLimits
from flowd.kubernetes.api.resources import WatchedResource
from flowd.kubernetes.api.store import ObjectStore
from flowd.kubernetes.api.stream import LineSplitter, ListItems, ListTooLarge
from flowd.kubernetes.objects.core import Object
from flowd.kubernetes.objects.snapshot import ObjectKey
from flowd.model.losses import Losses, Place
from flowd.text import printable

log = logging.getLogger(__name__)
NOT_FOUND = 404
# Statuses that mean an unusable resourceVersion: unknown, expired, newer than the watch cache
STALE = frozenset({400, GONE, 422, 504})


@dataclass(slots=True)
class ReflectorHealth:
    """Health of one resource; `last_contact` is monotonic seconds, 0 for never."""

    name: str
    last_contact: float = 0.0
    error: str = ""

    @property
    def tried(self) -> bool:
        """Whether a request has been answered or has failed."""
        return bool(self.last_contact or self.error)

    def succeeded(self) -> None:
        """Record an answer."""
        self.last_contact, self.error = time.monotonic(), ""

    def failed(self, error: str) -> None:
        """Record a failed or refused request; log it when the error is new."""
        if error != self.error:
            log.warning("kubernetes: %s: %s", self.name, error)
        self.error = error


class Reflector:
    """Keep one resource of the store in sync with the API server (client-go's Reflector).

    After a lost connection or an overload error the watch resumes from the last resourceVersion. A
    relist follows an expired resourceVersion (410) or an undecodable stream; it also removes the
    objects that were deleted in the meantime.

    Args:
        version: API version to request.
        lists: semaphore that limits concurrent lists.
        on_not_found: called when the server answers 404 for the resource.
        on_contact: called after each answer or failure.
    """

    def __init__(
        self,
        api: ApiClient,
        resource: WatchedResource,
        version: str,
        store: ObjectStore,
        losses: Losses,
        limits: ApiLimits,
        *,
        lists: asyncio.Semaphore,
        on_not_found: Callable[[], None],
        on_contact: Callable[[], None],
    ) -> None:
        self.resource = resource
        self.version = version
        self.health = ReflectorHealth(resource.plural)
        self._api = api
        self._kind = resource.object_kind
        self._path = resource.path(version)
        self._decoder = ObjectDecoder(resource)
        self._store = store
        self._losses = losses
        self._limits = limits
        self._lists = lists
        self._on_not_found = on_not_found
        self._on_contact = on_contact
        self._resource_version = ""
        self._listed = False
        self._consistent_read = False
        self._open = False
        self._failures = 0

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            self._open = False
            try:
                if not self._listed:
                    async with self._lists:
                        await self._list()
                    self._on_contact()
                await self._watch()
            except ApiError as error:
                self._failures += 1
                if error.status in STALE:
                    self._listed = False
                # The end of an open watch is no failure yet; a failed attempt to reopen it is.
                if error.status != GONE and not (self._open and self._listed):
                    self.health.failed(error.message)
                if error.status == NOT_FOUND:
                    self._on_not_found()
                self._on_contact()
                await backoff_sleep(error, self._failures, self._limits)

    async def _list(self) -> None:
        """List all objects page by page and replace them in the store.

        The first list accepts any version in the server's watch cache (resourceVersion 0), a relist
        none older than the last one seen, so neither reads from etcd. Only when the cache cannot
        serve that version, a consistent read (no resourceVersion) follows.
        """
        limit = {"limit": str(self._limits.page_size)}
        if self._consistent_read:
            params = limit
        elif self._resource_version:
            params = {
                "resourceVersion": self._resource_version,
                "resourceVersionMatch": "NotOlderThan",
            }
        else:
            params = {**limit, "resourceVersion": "0"}
        objects: dict[ObjectKey, Object] = {}
        while True:
            try:
                page = await self._page(params, objects)
            except ApiError as error:
                if error.status in STALE:
                    self._consistent_read = True
                raise
            if not page.continue_:
                break
            params = {**limit, "continue": page.continue_}
        if not page.resource_version:
            raise ApiError("the list has no resourceVersion")
        self._store.replace(self._kind, objects)
        self._resource_version, self._consistent_read, self._listed = (
            page.resource_version,
            False,
            True,
        )

    async def _page(self, params: dict[str, str], objects: dict[ObjectKey, Object]) -> ListMeta:
        current = self._store.get(self._kind)
        items = ListItems(self._limits.object_bytes)
        try:
            accept = self.resource.accept(watch=False)
            stream = self._api.stream(self._path, params, self._limits.read, accept)
            async with stream as chunks:
                async for chunk in chunks:
                    for data in items.feed(chunk):
                        item = self._decode(data)
                        if item:
                            # Keep an equal old object, so that a relist causes few changes
                            same = current.get(item.key)
                            objects[item.key] = same if same == item and same else item
            page = LIST_DECODER.decode(items.rest).metadata
        except (*DECODE_ERRORS, ListTooLarge) as error:
            raise ApiError(f"the list cannot be read: {printable(str(error), 200)}") from None
        self._count_dropped(items.dropped)
        self.health.succeeded()
        return page

    async def _watch(self) -> None:
        """Watch from the last resourceVersion until the server ends the watch."""
        limits, started = self._limits, time.monotonic()
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._resource_version,
            "timeoutSeconds": str(max(1, round(random.uniform(*limits.watch_timeout)))),
        }
        lines = LineSplitter(limits.object_bytes)
        try:
            accept = self.resource.accept(watch=True)
            async with self._api.stream(self._path, params, limits.watch_idle, accept) as chunks:
                self._open = True
                self.health.succeeded()
                self._on_contact()
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        self._handle_event(line)
                        self._failures = 0
                    self.health.succeeded()
        finally:
            self._count_dropped(lines.dropped)
            lasted = time.monotonic() - started >= limits.min_watch
            if lasted:
                self._failures = 0
        if not lasted:
            self._failures += 1
            await backoff_sleep(ApiError("the watch ended at once"), self._failures, limits)

    def _handle_event(self, line: bytes) -> None:
        try:
            event = WATCH_EVENT_DECODER.decode(line)
        except DECODE_ERRORS as error:
            self._listed = False
            raise ApiError(f"the watch cannot be read: {printable(str(error), 200)}") from None
        if event.type == "ERROR":
            self._listed = False
            raise _error_of(event.object)
        try:
            named = METADATA_DECODER.decode(event.object)
        except DECODE_ERRORS as error:
            self._malformed("?", str(error))
            return
        if event.type in ("ADDED", "MODIFIED"):
            self._put(event.object, named)
        elif event.type == "DELETED":
            self._store.delete(self._kind, (named.metadata.namespace, named.metadata.name))
        self._resource_version = named.metadata.resource_version or self._resource_version

    def _put(self, data: msgspec.Raw, named: PartialObjectMetadata) -> None:
        item = self._decode(data)
        if item:
            self._store.put(item)
        else:
            # The old state is outdated, and the new one is unknown.
            self._store.delete(self._kind, (named.metadata.namespace, named.metadata.name))

    def _decode(self, data: bytes | msgspec.Raw) -> Object | None:
        try:
            return self._decoder.decode(data)
        except MalformedObject as error:
            try:
                name = METADATA_DECODER.decode(data).metadata
                self._malformed(f"{name.namespace}/{name.name}", str(error))
            except DECODE_ERRORS:
                self._malformed("?", str(error))
        return None

    def _malformed(self, name: str, problem: str) -> None:
        self._losses.add(Place.MANIFEST, "invalid_object")
        what, why = printable(name, 320), printable(problem, 300)
        log.warning("kubernetes: %s left out: %s: %s", self.resource.plural, what, why)

    def _count_dropped(self, count: int) -> None:
        if count:
            self._losses.add(Place.MANIFEST, "too_large", count)
            size = self._limits.object_bytes >> 20
            log.warning(
                "kubernetes: %s: %d objects over %d MiB left out", self.resource.plural, count, size
            )


def _error_of(status: msgspec.Raw) -> ApiError:
    """Convert the Status of an ERROR watch event to an ApiError."""
    try:
        decoded = STATUS_DECODER.decode(status)
    except DECODE_ERRORS:
        return ApiError("the watch ended with an error that cannot be read")
    return ApiError(
        f"{decoded.code} {printable(decoded.message or decoded.reason, 200)}", decoded.code
    )
