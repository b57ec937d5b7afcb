"""Where whoever takes bundles stands: after which bundle, as a text to be stored with what was made of it.

    b1~<number>{~camera~run}~<the cursor of a subscriber in the order of frames>

The cursor inside goes back to the first record that is in no bundle yet, with each camera's position after
the last of its records that is in one. The cameras before it have ended, and are not waited for.

Pure. Not for: what is put together (see `bundling.py`), nor a subscriber's own cursor (see `cursor.py`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from kinestream.cursor import Cursor, Position
from kinestream.errors import UsageError
from kinestream.keys import check_camera
from kinestream.messages import ANY_CAMERA, PoseResult

_KIND = "b1"

_COUNT = re.compile(r"0|[1-9][0-9]{0,4}")

_RUN = re.compile(r"[1-9][0-9]{0,14}")
"""Below 2^53, as in every message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCursor:
    """Where to read on, in the order of frames; `ended` are the cameras whose run was over, with that run."""

    records: Cursor
    ended: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a bundle's cursor, or of a record's; raises `UsageError` if it is neither."""
        kind, _, rest = text.partition("~")
        if kind != _KIND:
            return cls(records=_in_order(text, text))
        number, _, rest = rest.partition("~")
        if not _COUNT.fullmatch(number):
            raise _broken(text)
        *parts, records = rest.split("~", 2 * int(number))
        if len(parts) != 2 * int(number):
            raise _broken(text)
        ended = {camera: _run(run, text) for camera, run in zip(parts[::2], parts[1::2], strict=True)}
        for camera in ended:
            check_camera(camera)
        return cls(records=_in_order(records, text), ended=ended)

    def __str__(self) -> str:
        ended = "".join(f"~{camera}~{run}" for camera, run in self.ended.items())
        return f"{_KIND}~{len(self.ended)}{ended}~{self.records}"


@dataclass(slots=True)
class _Waiting:
    """A record that is in no bundle yet: what came before it of any camera, and where its own goes on."""

    number: int
    before: str
    after: Position


class Place:
    """Follows records into bundles. Tell it of every record and bundle; `cursor` is where it stands."""

    def __init__(self, start: Cursor) -> None:
        self._newest = str(start)
        self._came = 0
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._after: dict[str, Position] = {}

    def came(self, record: PoseResult, *, waits: bool) -> None:
        """A record came from the subscriber; whether it waits for its bundle, or is done with."""
        before, self._newest = self._newest, record.cursor
        camera = record.camera
        if camera == ANY_CAMERA:
            return
        line = self._waiting.setdefault(camera, deque())
        if waits:
            self._came += 1
            line.append(_Waiting(self._came, before, Position(record.run, record.last + 1)))
            return
        # The end of a run, or what became of frames whose times are unknown: the cursor knows what is next.
        after = Cursor.parse(record.cursor).positions.get(camera)
        if after is not None and line:
            line[-1].after = after
        elif after is not None:
            self._after[camera] = after

    def left(self, cameras: Iterable[str]) -> None:
        """The first waiting record of each of these cameras has gone, in one bundle."""
        for camera in cameras:
            self._after[camera] = self._waiting[camera].popleft().after

    def cursor(self, ended: Mapping[str, int]) -> BundleCursor:
        """Where to go on after the bundle that has just left."""
        first = min((line[0] for line in self._waiting.values() if line), key=_number, default=None)
        records = Cursor.parse(self._newest if first is None else first.before)
        return BundleCursor(
            records=replace(records, positions={**records.positions, **self._after}), ended=dict(ended)
        )


def _number(waiting: _Waiting) -> int:
    return waiting.number


def _run(run: str, text: str) -> int:
    if not _RUN.fullmatch(run):
        raise _broken(text)
    return int(run)


def _in_order(records: str, text: str) -> Cursor:
    cursor = Cursor.parse(records)
    if not cursor.ordered:
        raise UsageError(
            f"bundles go on from a bundle's cursor, or one made with order=True, got {_shown(text)}"
        )
    return cursor


def _broken(text: str) -> UsageError:
    return UsageError(f"a start is now, beginning or the cursor of a bundle, got {_shown(text)}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
