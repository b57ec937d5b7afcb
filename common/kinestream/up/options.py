"""What a value of a file may be: each kind knows how to check it, what to say, and its JSON schema.

Not for: which options there are (see `plan.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinestream.fields import is_finite_number

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `wrong(value)` says what is wrong with a value, or nothing; `schema` is its JSON schema.

    `flag` is the option of the command that it becomes, `unit` what its value is written with there.
    """

    wrong: Callable[[Any], str]
    schema: Schema
    flag: str = ""
    unit: str = ""


def text(about: str, *, flag: str = "") -> Option:
    """Any text but none, without placeholders, which are for sources and Redis's URL."""

    def wrong(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            return f"must be text, got {shown(value)}"
        if not value.isprintable():
            return "has control characters in it"
        if "${" in value:
            return "must have no ${…}: that is for a camera's source and for redis"
        return ""

    return Option(wrong, {"type": "string", "minLength": 1, "description": about}, flag)


def whole(about: str, low: int, high: int | None = None, *, flag: str = "") -> Option:
    """A whole number."""
    wanted = f"from {low} to {high}" if high is not None else f"of at least {low}"

    def wrong(value: Any) -> str:
        fits = type(value) is int and value >= low and (high is None or value <= high)
        return "" if fits else f"must be a whole number {wanted}, got {shown(value)}"

    schema: Schema = {"type": "integer", "minimum": low, "description": about}
    return Option(wrong, schema | ({} if high is None else {"maximum": high}), flag)


def number(
    about: str, low: float, high: float | None = None, *, above: bool = False, flag: str = ""
) -> Option:
    """A number of at least `low`, or above it."""
    wanted = f"above {low:g}" if above else f"of at least {low:g}"
    if high is not None:
        wanted += f" and at most {high:g}"

    def wrong(value: Any) -> str:
        fits = is_finite_number(value) and (value > low if above else value >= low)
        return (
            ""
            if fits and (high is None or value <= high)
            else f"must be a number {wanted}, got {shown(value)}"
        )

    schema: Schema = {"type": "number", "exclusiveMinimum" if above else "minimum": low, "description": about}
    return Option(wrong, schema | ({} if high is None else {"maximum": high}), flag)


def switch(about: str, *, flag: str = "") -> Option:
    """True or false."""

    def wrong(value: Any) -> str:
        return "" if isinstance(value, bool) else f"must be true or false, got {shown(value)}"

    return Option(wrong, {"type": "boolean", "description": about}, flag)


def texts(about: str, *, flag: str = "") -> Option:
    """A list of at least one text."""
    one = text("")

    def wrong(value: Any) -> str:
        if not isinstance(value, list) or not value:
            return f"must be a list of at least one name, got {shown(value)}"
        return next(
            (f"must be a list of names, and one of them {why}" for why in map(one.wrong, value) if why), ""
        )

    items = {"type": "string", "minLength": 1}
    return Option(wrong, {"type": "array", "items": items, "minItems": 1, "description": about}, flag)


def words(options: Mapping[str, Option], given: Mapping[str, Any]) -> list[str]:
    """What is given as words of a command line, in the order of `options`."""
    line: list[str] = []
    for name, option in options.items():
        value = given.get(name)
        if not option.flag or value is None or value is False:
            continue
        values = value if isinstance(value, list) else [value]
        for one in values:
            line += [option.flag] if one is True else [option.flag, _word(one) + option.unit]
    return line


def object_schema(options: Mapping[str, Option], required: Sequence[str] = ()) -> Schema:
    """The JSON schema of a map of options."""
    properties = {name: option.schema for name, option in options.items()}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": [*required]} if required else {})


def shown(value: Any) -> str:
    """What came, in a few characters whatever it was."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    told = repr(value) if isinstance(value, str) else str(value)
    return told if len(told) <= 60 else told[:60] + "…"


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
