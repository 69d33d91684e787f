"""API discovery: which optional resources the API server serves, and in which version."""

from typing import TypeVar

import msgspec

from flowd.kubernetes.api.client import ApiClient, ApiError
from flowd.kubernetes.api.decode import DECODE_ERRORS
from flowd.kubernetes.api.resources import RESOURCES, VERBS, WatchedResource
from flowd.kubernetes.objects.core import Struct


class GroupVersionForDiscovery(Struct, frozen=True, kw_only=True):
    version: str


class APIGroup(Struct, frozen=True, kw_only=True):
    """APIGroup (meta/v1), the answer of /apis/<group>."""

    versions: tuple[GroupVersionForDiscovery, ...] = ()


class APIResource(Struct, frozen=True, kw_only=True):
    name: str
    verbs: tuple[str, ...] = ()


class APIResourceList(Struct, frozen=True, kw_only=True):
    """APIResourceList (meta/v1), the answer of /apis/<group>/<version>."""

    resources: tuple[APIResource, ...] = ()


T = TypeVar("T")
OPTIONAL = tuple(resource for resource in RESOURCES if not resource.required)


async def discover(api: ApiClient) -> dict[WatchedResource, str]:
    """Preferred version of each optional resource that can be listed and watched.

    A missing API group is no error.

    Raises:
        ApiError: the server does not answer.
    """
    served: dict[WatchedResource, str] = {}
    for group in dict.fromkeys(resource.group for resource in OPTIONAL):
        served |= await _group(api, group)
    return served


async def _group(api: ApiClient, group: str) -> dict[WatchedResource, str]:
    wanted = [resource for resource in OPTIONAL if resource.group == group]
    known = await _get(api, f"/apis/{group}", APIGroup)
    offered = {entry.version for entry in known.versions} if known else set[str]()
    names: dict[str, set[str]] = {}
    served: dict[WatchedResource, str] = {}
    for resource in wanted:
        for version in resource.versions:
            if version not in offered:
                continue
            if version not in names:
                names[version] = await _names(api, f"/apis/{group}/{version}")
            if resource.plural in names[version]:
                served[resource] = version
                break
    return served


async def _names(api: ApiClient, path: str) -> set[str]:
    answer = await _get(api, path, APIResourceList)
    resources = answer.resources if answer else ()
    return {entry.name for entry in resources if set(VERBS) <= set(entry.verbs)}


async def _get(api: ApiClient, path: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(await api.get(path), type=kind)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    except DECODE_ERRORS as error:
        raise ApiError(f"{path} cannot be read: {error}") from None
