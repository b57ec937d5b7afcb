"""Where a subscriber stands: ids of the results stream, positions of cameras, and the text that holds both.

A cursor is opaque to whoever stores it. It has only characters that need no escaping in a URL:

    c1~<ms>~<number>                                               order of commit: the next entry to read
    o1~<ms>~<number>~<held>~<untold>~<since ms>{~camera~run~seq}   order of frames

Not for: reading entries (see `resultreader.py`), nor deciding what may go when (see `reorder.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from kinestream.errors import UsageError
from kinestream.keys import check_camera

_LARGEST = 2**64 - 1
"""Of the two numbers of a stream id."""

_NUMBER = re.compile(r"[0-9]{1,20}")


class EntryId(NamedTuple):
    """Id of an entry of `results`: when it was committed on Redis's clock, and its running number."""

    ms: int
    number: int

    @classmethod
    def parse(cls, text: bytes | str) -> Self:
        """Read an id as Redis writes it."""
        ms, number = (text.decode() if isinstance(text, bytes) else text).split("-")
        return cls(int(ms), int(number))

    @property
    def following(self) -> EntryId:
        """The smallest id that the next entry can have."""
        return EntryId(self.ms, self.number + 1)

    @property
    def preceding(self) -> EntryId:
        """The largest id below this one: XREAD reads what comes after the id that it is given."""
        if self.number:
            return EntryId(self.ms, self.number - 1)
        return EntryId(self.ms - 1, _LARGEST) if self.ms else self

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


class Position(NamedTuple):
    """What a camera's next record is: frame `seq` of `run`, or whichever frame of it comes first (None).

    Records of a smaller `(run, seq)` were released, or were given up on. The next run waits for the end of
    `run` if that is `begun`: something of it was seen.
    """

    run: int
    seq: int | None
    begun: bool = True


def position_text(camera: str, position: Position) -> str:
    """The part of a cursor that tells one camera's position."""
    run, seq, begun = position
    return f"~{camera}~{run}~{'' if seq is None else seq}{'' if begun else '-'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A subscriber's state between two records, in plain form.

    `following` is the smallest id of an entry that is not done with. The rest is for the order of frames,
    where reading goes back to entries that were held: what was missing before record number `untold` was told
    before; runs that began before `since_ms` (Redis's clock) may have lost their first frames to trimming;
    `positions` are those of the cameras.
    """

    following: EntryId
    ordered: bool = False
    held: bool = False
    untold: int = 0
    since_ms: int = 0
    positions: Mapping[str, Position] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor's text; raises `UsageError` if it is none."""
        kind, *parts = text.split("~")
        if kind == "c1" and len(parts) == 2:
            return cls(following=EntryId(*_numbers(text, parts)))
        if kind != "o1" or len(parts) % 3 != 2:
            raise _broken(text)
        ms, number, held, untold, since_ms = _numbers(text, parts[:5])
        triples = zip(parts[5::3], parts[6::3], parts[7::3], strict=True)
        return cls(
            following=EntryId(ms, number),
            ordered=True,
            held=held != 0,
            untold=untold,
            since_ms=since_ms,
            positions={camera: _position(text, camera, run, seq) for camera, run, seq in triples},
        )

    def __str__(self) -> str:
        if not self.ordered:
            return commit_text(self.following)
        marks = "".join(position_text(camera, position) for camera, position in self.positions.items())
        return frame_text(self.following, self.held, self.untold, self.since_ms, marks)


def commit_text(following: EntryId) -> str:
    """A cursor in the order of commit."""
    return f"c1~{following.ms}~{following.number}"


def frame_text(following: EntryId, held: bool, untold: int, since_ms: int, marks: str) -> str:
    """A cursor in the order of frames; `marks` are the texts of all positions.

    A subscriber makes one a record, and keeps the marks of cameras that have not moved.
    """
    return f"o1~{following.ms}~{following.number}~{held:d}~{untold}~{since_ms}{marks}"


def _position(text: str, camera: str, run: str, seq: str) -> Position:
    try:
        check_camera(camera)
    except UsageError:
        raise _broken(text) from None
    digits = seq.removesuffix("-")
    numbers = _numbers(text, [run, digits] if digits else [run])
    return Position(numbers[0], numbers[1] if digits else None, begun=digits == seq)


def _numbers(text: str, parts: list[str]) -> list[int]:
    if not all(map(_NUMBER.fullmatch, parts)):
        raise _broken(text)
    numbers = list(map(int, parts))
    if max(numbers) > _LARGEST:
        raise _broken(text)
    return numbers


def _broken(text: str) -> UsageError:
    shown = text if len(text) <= 60 else text[:60] + "…"
    return UsageError(f"a start is now, beginning or the cursor of a record, got {shown!r}")
