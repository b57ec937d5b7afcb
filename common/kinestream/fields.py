"""Checks of one field's value: the right type, in range, and in its plain form, or `MessageError`.

Each check takes the field's name (for the error), the value, and returns the value as the message holds it:
numbers as floats, lists as tuples. Not for: what the fields mean (see `messages.py`), nor bytes (see
`packing.py`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

from kinestream.errors import MessageError

MAX_INTEGER = 2**53 - 1
"""JavaScript's largest safe integer: messages must survive every language."""

MAX_TEXT = 1024
"""Characters in one text field; causes and model names are short, and a hostile message must not be long."""

Points = tuple[tuple[float, float, float], ...]


def integer(name: str, value: object, *, low: int = 0, high: int = MAX_INTEGER) -> int:
    """An int (never a bool) from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise wrong(name, f"an integer from {low} to {high}", value)
    return value


def optional_integer(name: str, value: object, *, low: int = 0) -> int | None:
    """None, or an integer of at least `low`."""
    return None if value is None else integer(name, value, low=low)


def number(name: str, value: Any) -> float:
    """A finite number as a float; an integer counts, since JavaScript packs 1.0 as 1."""
    if not is_finite_number(value):
        raise wrong(name, "a finite number", value)
    return float(value)


def optional_number(name: str, value: Any) -> float | None:
    """None, or a finite number as a float."""
    return None if value is None else number(name, value)


def numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    """Exactly `count` finite numbers, as floats."""
    if not isinstance(value, tuple | list) or len(value) != count or not all(map(is_finite_number, value)):
        raise wrong(name, f"{count} finite numbers", value)
    return tuple(map(float, value))


def items(name: str, value: Any, *, max_count: int) -> Sequence[Any]:
    """A list or tuple of at most `max_count` items, whatever they are."""
    if not isinstance(value, tuple | list) or len(value) > max_count:
        raise wrong(name, f"a list of at most {max_count} items", value)
    return value


def points(name: str, value: Any, *, max_count: int) -> Points:
    """At most `max_count` triples of finite numbers, as floats.

    A result holds hundreds of these numbers, so the usual case, all floats already, is checked without a
    Python step a number. A sum that overflows sends the odd case of finite giants to the slow way, which
    decides.
    """
    kinds = set(map(type, items(name, value, max_count=max_count)))
    if kinds <= {tuple, list} and set(map(len, value)) <= {3}:
        flat = list(chain.from_iterable(value))
        if set(map(type, flat)) <= {float} and math.isfinite(sum(flat)):
            return tuple(map(tuple, value))
        if all(map(is_finite_number, flat)):
            return tuple((float(x), float(y), float(score)) for x, y, score in value)
    raise wrong(name, "a list of [x, y, score], all finite numbers", value)


def named_numbers(name: str, value: Any, *, max_count: int) -> dict[str, float]:
    """At most `max_count` names with a finite number each, as floats."""
    if not isinstance(value, Mapping) or len(value) > max_count:
        raise wrong(name, f"a map of at most {max_count} names to numbers", value)
    return {text(f"a name in {name}", key): number(f"{name}.{key}", item) for key, item in value.items()}


def text(name: str, value: object) -> str:
    """Text of at most `MAX_TEXT` characters that UTF-8 can carry (no lone surrogates)."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise wrong(name, f"text of at most {MAX_TEXT} characters", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise wrong(name, "text that UTF-8 can carry", value) from None
    return value


def clip_text(value: str) -> str:
    """`value` made to fit a text field: what UTF-8 cannot carry becomes `?`, and what is too long is cut.

    For texts from elsewhere, such as an exception's, which must never keep a record from being written.
    """
    value = value.encode(errors="replace").decode()
    return value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1] + "…"


def choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(name, "one of " + ", ".join(choices), value)
    return value


def binary(name: str, value: object, *, max_bytes: int) -> bytes:
    """1 to `max_bytes` bytes."""
    if not isinstance(value, bytes) or not 0 < len(value) <= max_bytes:
        raise wrong(name, f"1 to {max_bytes} bytes", value)
    return value


def is_finite_number(value: object) -> bool:
    """Whether `value` is a finite float (numpy's float64 is one), or an int that a float can hold exactly."""
    if isinstance(value, float):
        return math.isfinite(value)
    return type(value) is int and abs(value) <= MAX_INTEGER


def wrong(name: str, wanted: str, got: object) -> MessageError:
    """The error that says what was wanted and what came, in one short line whatever came."""
    if isinstance(got, str):
        shown = repr(got if len(got) <= 60 else got[:60] + "…")
    elif got is None or isinstance(got, bool | int | float):
        shown = str(got)[:60]
    elif isinstance(
        got, bytes | tuple | list | Mapping
    ):  # never its contents: they may be long, or deeply nested
        shown = f"{type(got).__name__} of length {len(got)}"
    else:
        shown = type(got).__name__
    return MessageError(f"{name} must be {wanted}, got {shown}")
