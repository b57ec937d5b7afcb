"""Messages as plain maps, and plain maps as msgpack bytes, with limits that hold while unpacking.

A hostile message must cost little more memory than its own bytes. msgpack's own limits do not see to that: 32
MB of empty lists become 2.5 GB of Python objects. Not for: what the map's fields are (see `messages.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field
from typing import Any, ClassVar, Protocol

import msgpack

from kinestream.errors import MessageError, UnsupportedVersion
from kinestream.fields import integer, wrong

MAX_ITEMS = 1024
"""Items of one list or map, unknown fields included: msgpack reserves room before it has seen any of them."""

_SMALL = 64 * 2**10
"""Below this many bytes the objects cannot reach 10 MB, and lists need not be counted: that saves a fifth."""


class Dataclass(Protocol):
    """Any instance of a dataclass, or the class itself."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def packed_fields(message: type[Dataclass]) -> dict[str, bool]:
    """Names of the fields that are sent, in order, each with whether it must be there.

    A field that does not compare says where a message was met, or follows from the others, and is not sent.
    """
    return {
        name: declared.default is MISSING and declared.default_factory is MISSING
        for name, declared in message.__dataclass_fields__.items()
        if declared.compare
    }


def plain(message: Dataclass, packed: Mapping[str, bool]) -> dict[str, Any]:
    """The message's sent fields as a map."""
    return {name: getattr(message, name) for name in packed}


def arguments(message: object, packed: Mapping[str, bool]) -> dict[str, Any]:
    """Find the constructor's arguments in a map from elsewhere; others are ignored, null counts as left out.

    Raises `MessageError` if a field that must be there is not, or if it is no map.
    """
    given = _map(message)
    found = {name: given[name] for name in packed if given.get(name) is not None}
    for name, required in packed.items():
        if required and name not in found:
            raise MessageError(f"{name} is missing")
    return found


def check_version(message: object, version: int) -> None:
    """Raise `UnsupportedVersion` if the map is of a newer major version, `MessageError` if of none."""
    found = integer("version", _map(message).get("version"), low=1)
    if found > version:
        raise UnsupportedVersion(f"message version {found} is newer than {version}: upgrade this Kinestream")


def pack_map(plain: Mapping[str, Any]) -> bytes:
    """Pack a map of plain values: text, numbers, bytes, lists and maps."""
    packed: bytes = msgpack.packb(plain)
    return packed


def unpack_map(packed: bytes, *, max_bytes: int, max_lists: int) -> Mapping[str, Any]:
    """Unpack one map; its lists come as tuples.

    Raises `MessageError` if it has more than `max_bytes` bytes, more than `max_lists` lists and maps, a list
    or map of more than `MAX_ITEMS` items, a key twice or none that is text, an extension type, or is no
    msgpack map at all.
    """
    if len(packed) > max_bytes:
        raise MessageError(f"a message may have {max_bytes} bytes, got {len(packed)}")
    left = max_lists

    def count(items: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal left
        left -= 1
        if left < 0:
            raise MessageError(f"a message may have {max_lists} lists and maps")
        return items

    def to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        count(())
        # Libraries disagree on which of two equal keys counts, so that two readers would see two messages.
        unpacked = dict(pairs)
        if len(unpacked) != len(pairs):
            raise MessageError("a message has a key twice")
        return unpacked

    try:
        unpacked = msgpack.unpackb(
            packed,
            raw=False,
            use_list=False,
            strict_map_key=True,
            list_hook=None if len(packed) < _SMALL else count,
            object_pairs_hook=to_dict,
            max_ext_len=0,  # extension types differ among libraries: there are none
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise MessageError(f"not a msgpack message: {str(error) or type(error).__name__}") from error
    return _map(unpacked)


def _map(message: object) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise wrong("a message", "a map", message)
    return message
