"""One object of the API server, as JSON, into the struct that is kept of it."""

import msgspec

from flowd.kubernetes.api.resources import Resource
from flowd.kubernetes.manifests import pruned
from flowd.kubernetes.objects.core import Object, Struct
from flowd.kubernetes.objects.sharing import Sharing

ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding a stranger's bytes can raise."""


class Malformed(Exception):
    """An object that cannot be used; the text says why."""


class ListMeta(Struct, frozen=True, kw_only=True):
    resource_version: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class List(Struct, frozen=True, kw_only=True):
    """A list without its items."""

    metadata: ListMeta


class Name(Struct, frozen=True, kw_only=True):
    """As much of ObjectMeta as every object has."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class Named(Struct, frozen=True, kw_only=True):
    metadata: Name = Name()


class Event(Struct, frozen=True, kw_only=True):
    """A line of a watch; `object` is the object, a bookmark, or a Status."""

    type: str
    object: msgspec.Raw


class Status(Struct, frozen=True, kw_only=True):
    """What the server says with an error (meta/v1 Status)."""

    code: int = 0
    reason: str = ""
    message: str = ""


class ObjectDecoder:
    """JSON into the partial struct of one resource; raw JSON is not kept."""

    def __init__(self, resource: Resource) -> None:
        self._type = resource.read_as.type
        self._decoder = msgspec.json.Decoder(self._type)
        self._sharing = Sharing()

    def decode(self, data: bytes | msgspec.Raw) -> Object:
        """The object.

        Raises:
            Malformed: not JSON, a field of a wrong type, or an address that is none.
        """
        try:
            item = self._decode(data)
            item.check()
            self._sharing.share(item)
        except ERRORS as error:
            raise Malformed(str(error)) from None
        return item

    def _decode(self, data: bytes | msgspec.Raw) -> Object:
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError:
            # The API writes `null` for an empty list; that is a field which is not there.
            return msgspec.convert(pruned(msgspec.json.decode(data)), self._type)


NAMES = msgspec.json.Decoder(Named)
EVENTS = msgspec.json.Decoder(Event)
LISTS = msgspec.json.Decoder(List)
STATUSES = msgspec.json.Decoder(Status)
