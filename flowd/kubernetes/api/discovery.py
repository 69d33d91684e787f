"""Which optional kinds an API server serves, and in which version."""

from typing import TypeVar

import msgspec

from flowd.kubernetes.api.client import Api, ApiError
from flowd.kubernetes.api.decode import ERRORS
from flowd.kubernetes.api.resources import RESOURCES, VERBS, Resource
from flowd.kubernetes.objects.core import Struct


class GroupVersion(Struct, frozen=True, kw_only=True):
    version: str


class Group(Struct, frozen=True, kw_only=True):
    """APIGroup, as /apis/<group> answers."""

    versions: tuple[GroupVersion, ...] = ()


class Served(Struct, frozen=True, kw_only=True):
    name: str
    verbs: tuple[str, ...] = ()


class ResourceList(Struct, frozen=True, kw_only=True):
    """APIResourceList, as /apis/<group>/<version> answers."""

    resources: tuple[Served, ...] = ()


T = TypeVar("T")
OPTIONAL = tuple(resource for resource in RESOURCES if not resource.required)


async def discover(api: Api) -> dict[Resource, str]:
    """The best version of each optional resource that can be listed and watched.

    Raises:
        ApiError: the server does not answer; that a group is missing is no error.
    """
    served: dict[Resource, str] = {}
    for group in dict.fromkeys(resource.group for resource in OPTIONAL):
        served |= await _group(api, group)
    return served


async def _group(api: Api, group: str) -> dict[Resource, str]:
    wanted = [resource for resource in OPTIONAL if resource.group == group]
    known = await _get(api, f"/apis/{group}", Group)
    offered = {entry.version for entry in known.versions} if known else set[str]()
    names: dict[str, set[str]] = {}
    served: dict[Resource, str] = {}
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


async def _names(api: Api, path: str) -> set[str]:
    answer = await _get(api, path, ResourceList)
    resources = answer.resources if answer else ()
    return {entry.name for entry in resources if set(VERBS) <= set(entry.verbs)}


async def _get(api: Api, path: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(await api.get(path), type=kind)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    except ERRORS as error:
        raise ApiError(f"{path} cannot be read: {error}") from None
