"""What arq stores, as msgpack: arguments, results, and exceptions among the results.

arq's default is pickle, by which whoever can write a key makes the reader run any code. Here an exception is
its type's name and its words, and only what a traceback of ours could show is made of it again: Python's own
exceptions and ours. Not for: frames and results of frames (see `messages.py`), which know no such type.
"""

from __future__ import annotations

import asyncio
import builtins
from typing import Any

import msgpack

from kinestream import errors

_EXCEPTION = 1
"""The extension type that stands for an exception: a list of its name and its words."""


def pack(plain: dict[str, Any]) -> bytes:
    """Pack what arq hands over; raises `TypeError` for what is neither plain nor an exception."""
    packed: bytes = msgpack.packb(plain, default=_to_extension)
    return packed


def unpack(packed: bytes) -> dict[str, Any]:
    """Read what `pack` gave; raises `ValueError` for anything else. Of a pickle nothing is run."""
    try:
        plain = msgpack.unpackb(packed, ext_hook=_from_extension, strict_map_key=False)
    except Exception as error:
        raise ValueError(f"these bytes are no msgpack: {error}") from None
    if not isinstance(plain, dict):
        raise ValueError(f"a map is wanted, got {type(plain).__name__}")
    return plain


def _to_extension(value: object) -> msgpack.ExtType:
    if isinstance(value, BaseException):
        return msgpack.ExtType(_EXCEPTION, msgpack.packb([type(value).__name__, str(value)]))
    raise TypeError(f"{type(value).__name__} cannot be handed to another process")


def _from_extension(code: int, data: bytes) -> BaseException:
    if code != _EXCEPTION:
        raise ValueError(f"extension type {code} is unknown")
    name, words = msgpack.unpackb(data)
    if name == "CancelledError":
        return asyncio.CancelledError(words)
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(words)
        except TypeError:  # one that wants more than words, such as UnicodeDecodeError
            pass
    return RuntimeError(f"{name}: {words}")
