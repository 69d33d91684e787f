"""Decode JSON of the API server: objects into partial structs, watch events, lists, Status."""

import msgspec

from flowd.kubernetes.api.resources import WatchedResource
from flowd.kubernetes.manifests import pruned
from flowd.kubernetes.objects.core import Object, Struct
from flowd.kubernetes.objects.sharing import Interner

DECODE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)
"""Exceptions that decoding untrusted bytes can raise."""


class MalformedObject(Exception):
    """An invalid object; the text gives the reason."""


class ListMeta(Struct, frozen=True, kw_only=True):
    """ListMeta (meta/v1): version of the list, and the continue token of its next page."""

    resource_version: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class ListEnvelope(Struct, frozen=True, kw_only=True):
    """A list response without its items."""

    metadata: ListMeta


class PartialMeta(Struct, frozen=True, kw_only=True):
    """The fields of ObjectMeta that identify an object and its version."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class PartialObjectMetadata(Struct, frozen=True, kw_only=True):
    """Any object, reduced to its identifying metadata."""

    metadata: PartialMeta = PartialMeta()


class WatchEvent(Struct, frozen=True, kw_only=True):
    """One line of a watch (meta/v1 WatchEvent); `object` is an object, a bookmark or a Status."""

    type: str
    object: msgspec.Raw


class ApiStatus(Struct, frozen=True, kw_only=True):
    """Error response of the server (meta/v1 Status)."""

    code: int = 0
    reason: str = ""
    message: str = ""


class ObjectDecoder:
    """Decode JSON into the partial struct of one resource; the raw JSON is not kept."""

    def __init__(self, resource: WatchedResource) -> None:
        self._type = resource.object_kind.type
        self._decoder = msgspec.json.Decoder(self._type)
        self._interner = Interner()

    def decode(self, data: bytes | msgspec.Raw) -> Object:
        """Decode, validate and intern one object.

        Raises:
            MalformedObject: invalid JSON, a field of a wrong type, or an invalid address.
        """
        try:
            item = self._decode(data)
            item.check()
            self._interner.intern_parts(item)
        except DECODE_ERRORS as error:
            raise MalformedObject(str(error)) from None
        return item

    def _decode(self, data: bytes | msgspec.Raw) -> Object:
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError:
            # The API writes `null` for an empty list, which counts as a missing field.
            return msgspec.convert(pruned(msgspec.json.decode(data)), self._type)


METADATA_DECODER = msgspec.json.Decoder(PartialObjectMetadata)
WATCH_EVENT_DECODER = msgspec.json.Decoder(WatchEvent)
LIST_DECODER = msgspec.json.Decoder(ListEnvelope)
STATUS_DECODER = msgspec.json.Decoder(ApiStatus)
