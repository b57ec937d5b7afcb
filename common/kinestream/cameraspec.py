"""Everything that can be said about one camera before it is opened, in one checked object and as a plain map.

A `CameraSpec` is what `kinestream camera add` and a line of `cameras.yaml` become, what `wanted.py` keeps in
Redis, and what a producer obeys. All mistakes are found at once, each with the name of its field.

Not for: secrets in a source (see `placeholders.py`), nor for what the options do: that is ingest's and the
scripts' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from kinestream.errors import FieldError, SpecError, UsageError
from kinestream.fields import is_finite_number
from kinestream.keys import check_camera
from kinestream.messages import LANES, Lane
from kinestream.placeholders import check_storable
from kinestream.region import check_rotation, region_text
from kinestream.turns import HIGHEST_PRIORITY, LONGEST_AGE_MS

MAX_SOURCE = 2048
"""Characters: longer than the URL of any camera, and short beside what else is read with it."""

LONGEST_TIMEOUT_S = 24 * 3600
"""A day without a picture is a camera that is away, whoever waits."""

_LONGEST_OFFSET_MS = 4e12
"""126 years: a clock that began in 1970 can be put right, and times stay what messages can hold."""

_MOST = 10**9
"""Frames or pixels: what means everything, or no limit, in numbers that every part of the system can hold."""

PRIORITIES = range(HIGHEST_PRIORITY + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """One camera as somebody wants it; None leaves a choice to the source.

    Raises `SpecError`, which names every field that is wrong, for what cannot be.
    """

    name: str
    source: str
    """As `kinestream ingest` takes it; `${NAME}` and `${file:/run/secrets/x}` stand for secrets."""
    lane: Lane | None = None
    max_fps: float | None = None
    every: int = 1
    max_side: int | None = None
    quality: int | None = None
    region: str | None = None
    """What is looked at of each upright picture (see `kinestream.region`). Also taken, in pixels: a box `[x,
    y, width, height]` or corners `[[x, y], …]`.
    """
    rotate: int = 0
    """Degrees by which pictures are turned clockwise so that people stand upright."""
    priority: int = 0
    """0 to 9; while workers are short, cameras of a higher one are served first."""
    max_age_ms: int | None = None
    clock_offset_ms: float = 0.0
    """Added to the camera's times, for a clock that is known to be wrong."""
    realtime: bool | None = None
    reconnect: bool | None = None
    timeout_s: float | None = None
    paused: bool = False
    producer: str | None = None
    """The name of the producer that shall serve it; None is any."""

    def __post_init__(self) -> None:
        errors = []
        for name, check in _CHECKS.items():
            try:
                object.__setattr__(self, name, check(getattr(self, name)))
            except UsageError as error:
                errors.append(FieldError(name, str(error)))
        if errors:
            raise SpecError(self.name if isinstance(self.name, str) else "", errors)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Make one from a map, as of a file or of Redis; null counts as left out.

        Raises `SpecError`; a field that nobody knows is one, since it is a slip of the pen more often than
        not.
        """
        errors = [
            FieldError(_shown(name), f"no such option; there are {', '.join(FIELDS)}")
            for name in plain
            if name not in FIELDS
        ]
        given = {name: plain[name] for name in FIELDS if plain.get(name) is not None}
        errors += [FieldError(name, "is missing") for name in ("name", "source") if name not in given]
        try:
            spec = cls(**({"name": "missing", "source": "missing"} | given))
        except SpecError as error:
            errors += error.errors
        if errors:
            raise SpecError(str(given.get("name", "")), errors)
        return spec

    def to_plain(self) -> dict[str, Any]:
        """The map that `from_plain` takes, without what is as it is by default."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in given.items() if value != _DEFAULTS.get(name)}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"must be text, got {_shown(value)}")
    return value


def _name(value: Any) -> str:
    return check_camera(_text(value))


def _source(value: Any) -> str:
    text = _text(value)
    if not 0 < len(text) <= MAX_SOURCE:
        raise UsageError(f"must have 1 to {MAX_SOURCE} characters, got {len(text)}")
    if not text.isprintable():
        raise UsageError("has control characters in it")
    check_storable(text)
    return text


def _lane(value: Any) -> Lane | None:
    if value is None or value in LANES:
        return value  # type: ignore[no-any-return]
    raise UsageError(f"must be {' or '.join(LANES)}, got {_shown(value)}")


def _whole(low: int, high: int | None = None, *, optional: bool = False) -> Callable[[Any], int | None]:
    wanted = f"a whole number from {low} to {high}" if high is not None else f"a whole number, at least {low}"

    def check(value: Any) -> int | None:
        if value is None and optional:
            return None
        if type(value) is not int or value < low or (high is not None and value > high):
            raise UsageError(f"must be {wanted}, got {_shown(value)}")
        return value

    return check


def _positive(high: float) -> Callable[[Any], float | None]:
    def check(value: Any) -> float | None:
        if value is None:
            return None
        if not is_finite_number(value) or not 0 < value <= high:
            raise UsageError(f"must be a number above 0, {high:.0f} at most, got {_shown(value)}")
        return float(value)

    return check


def _offset(value: Any) -> float:
    if not is_finite_number(value) or abs(value) > _LONGEST_OFFSET_MS:
        raise UsageError(
            f"must be a number of milliseconds, {_LONGEST_OFFSET_MS:.0f} at most, got {_shown(value)}"
        )
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"must be true or false, got {_shown(value)}")
    return value


def _optional_flag(value: Any) -> bool | None:
    return None if value is None else _flag(value)


def _rotation(value: Any) -> int:
    try:
        return check_rotation(value)
    except UsageError as error:
        raise UsageError(str(error).removeprefix("rotate ")) from None


def _producer(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return check_camera(_text(value))
    except UsageError as error:
        raise UsageError(str(error).replace("a camera name", "a producer's name")) from None


def _region(value: Any) -> str | None:
    return None if value is None else region_text(value)


def _shown(value: Any) -> str:
    """What came, in a few characters whatever it was."""
    if isinstance(value, list | tuple | dict | bytes):
        return f"{type(value).__name__} of length {len(value)}"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "…"


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "name": _name,
    "source": _source,
    "lane": _lane,
    "max_fps": _positive(_MOST),
    "every": _whole(1, _MOST),
    "max_side": _whole(16, _MOST, optional=True),
    "quality": _whole(1, 100, optional=True),
    "region": _region,
    "rotate": _rotation,
    "priority": _whole(PRIORITIES[0], PRIORITIES[-1]),
    "max_age_ms": _whole(1, LONGEST_AGE_MS, optional=True),
    "clock_offset_ms": _offset,
    "realtime": _optional_flag,
    "reconnect": _optional_flag,
    "timeout_s": _positive(LONGEST_TIMEOUT_S),
    "paused": _flag,
    "producer": _producer,
}

FIELDS = tuple(_CHECKS)
"""Names of all options, in the order in which they are shown."""

_DEFAULTS = {one.name: one.default for one in fields(CameraSpec) if one.name not in ("name", "source")}
