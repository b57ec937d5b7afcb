"""Putting frames of several cameras together that were captured at about the same time: which, and when it
may go.

A bundle begins with the earliest frame that is in no bundle yet; every other camera joins it with its first
frame that is at most a tolerance later. Where that is less than half of the time between two frames of one
camera, this is the nearest frame, and it is the same whatever the order in which records arrive. Each record
that tells of one frame, be it that it was dropped, is in exactly one bundle.

A bundle goes as soon as every camera has joined it, or has a later frame at hand, or its run has ended. A
camera of which nothing is at hand is waited for: for a time, and as long as not too many records are held.
Whoever was waited for in vain is silent, and is not waited for again until something of it comes. Why a
camera is missing is said in its place.

Pure: records in the order of frames and a clock in, bundles out. Not for: Redis (see `bundles.py`), nor the
order of one camera's frames (`reorder.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kinestream.bundle import Bundle, Member
from kinestream.messages import ANY_CAMERA, PoseResult

Clock = Literal["captured", "media"]
"""What frames are put together by: `captured_us`, or for recordings `media_time_s`."""

NOT_IN_TIME = "not-in-time"
"""Cause of a member that is not there yet: it was waited for as long as was asked for."""

HELD_TOO_MUCH = "held-too-much"
"""The same, since too many records were held."""

SILENT = "silent"
"""The same, since the camera had been waited for in vain already, and nothing of it has come."""


@dataclass(slots=True)
class _Entry:
    result: PoseResult
    at_us: int
    since_ms: float
    gap: PoseResult | None  # what became of the frames just before it, if their times are unknown


@dataclass(slots=True)
class _Line:
    """One camera: its records in order, and what is known where there are none."""

    entries: deque[_Entry] = field(default_factory=deque)
    gap: PoseResult | None = None
    gap_frames: int = 0
    run: int = 0
    end: PoseResult | None = None
    silent: bool = False

    @property
    def awaited(self) -> bool:
        """Whether nothing is at hand and something may come."""
        return not self.entries and self.end is None and not self.silent

    def tell_gap(self, gap: PoseResult) -> None:
        """Take in what became of frames whose times are unknown."""
        self.gap, self.gap_frames = gap, gap.frames

    def why_missing(self) -> PoseResult | None:
        """What became of frames at about this time, if that is known.

        Behind a gap at the end of a run no frame says when it is over: so many bundles name it.
        """
        if self.entries:
            return self.entries[0].gap
        told = self.gap
        if self.end is not None and told is not None:
            self.gap_frames -= 1
            if not self.gap_frames:
                self.gap = None
        return told


class Bundler:
    """Call `add` for one record, in the order of each camera's frames, then `release` until it returns None.

    `offsets_us` are added to the cameras' times. Without `again` each camera is one recording: what comes
    after its first run is let go of, and `finished` says when no more bundles can come. `ended` are the runs
    of cameras that were over before, as the property told then.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        *,
        tolerance_us: int,
        wait_ms: float,
        max_held: int,
        clock: Clock = "captured",
        offsets_us: Mapping[str, int] | None = None,
        again: bool = True,
        ended: Mapping[str, int] | None = None,
    ) -> None:
        self.held = 0
        self._lines = {camera: _Line() for camera in cameras}
        for camera, run in (ended or {}).items():
            if line := self._lines.get(camera):
                line.run = run
                line.end = PoseResult(camera=camera, run=run, seq=0, status="end")
        self._tolerance_us = tolerance_us
        self._wait_ms = wait_ms
        self._max_held = max_held
        self._clock = clock
        self._offsets_us = dict(offsets_us or {})
        self._again = again

    @property
    def finished(self) -> bool:
        """Whether every camera has ended, nothing is held, and later runs do not count."""
        return not self._again and not self.held and all(line.end for line in self._lines.values())

    @property
    def ended(self) -> dict[str, int]:
        """The runs of cameras that are over, and of which nothing is held."""
        return {camera: line.run for camera, line in self._lines.items() if line.end and not line.entries}

    @property
    def due_ms(self) -> float | None:
        """When the next bundle goes whoever is missing, on the caller's clock; None if nothing is held."""
        first = [line.entries[0].since_ms for line in self._lines.values() if line.entries]
        return min(first) + self._wait_ms if first else None

    def add(self, result: PoseResult, now_ms: float) -> bool:
        """Take in a record; then `release` may have some bundles. Other cameras' are passed over.

        Return whether it will be in a bundle.
        """
        if result.camera == ANY_CAMERA:
            for each in self._lines.values():
                each.tell_gap(result)
            return False
        line = self._lines.get(result.camera)
        if line is None or not self._counts(line, result):
            return False
        line.silent = False
        if result.status == "end":
            line.end = result
            return False
        at_us = self._time_of(result)
        if at_us is None:
            line.tell_gap(result)
            return False
        line.entries.append(_Entry(result, at_us, now_ms, line.gap))
        line.gap = None
        self.held += 1
        return True

    def release(self, now_ms: float) -> Bundle | None:
        """Return the next bundle that may go; None if there is nothing, or it has to wait."""
        if not self.held:
            return None
        awaited = [line for line in self._lines.values() if line.awaited]
        cause = SILENT
        if awaited:
            due_ms = self.due_ms
            if due_ms is not None and now_ms >= due_ms:
                cause = NOT_IN_TIME
            elif self.held > self._max_held:
                cause = HELD_TOO_MUCH
            else:
                return None
        bundle = self._bundle({id(line) for line in awaited}, cause)
        if cause == NOT_IN_TIME:
            for line in awaited:
                line.silent = True
        return bundle

    def _counts(self, line: _Line, result: PoseResult) -> bool:
        """Whether a record is looked at; a later run's first one is the end of the one before it."""
        if result.run > line.run:
            if line.run and not self._again:
                line.end = line.end or PoseResult(
                    camera=result.camera, run=line.run, seq=0, status="end", cause="next-run"
                )
                return False
            line.run, line.end = result.run, None
        return True

    def _time_of(self, result: PoseResult) -> int | None:
        """When a frame was captured, in microseconds on the common clock, if the record says so."""
        if self._clock == "media":
            at_us = None if result.media_time_s is None else round(1e6 * result.media_time_s)
        else:
            at_us = result.captured_us
        return None if at_us is None else at_us + self._offsets_us.get(result.camera, 0)

    def _bundle(self, awaited: set[int], cause: str) -> Bundle:
        first_us = min(line.entries[0].at_us for line in self._lines.values() if line.entries)
        members = {
            camera: self._member(camera, line, first_us, cause if id(line) in awaited else SILENT)
            for camera, line in self._lines.items()
        }
        times = [member.at_us for member in members.values() if member.at_us is not None]
        return Bundle(at_us=first_us, spread_ms=(max(times) - first_us) / 1000, members=members)

    def _member(self, camera: str, line: _Line, first_us: int, not_yet: str) -> Member:
        """What a camera has in the bundle that begins at `first_us`; its record is taken if it has one."""
        entry = line.entries[0] if line.entries else None
        if entry is not None and entry.at_us - first_us <= self._tolerance_us:
            line.entries.popleft()
            self.held -= 1
            result = entry.result
            return Member(
                camera=camera, status=result.status, cause=result.cause, result=result, at_us=entry.at_us
            )
        gap = line.why_missing()
        if gap is not None:
            return Member(camera=camera, status=gap.status, cause=gap.cause)
        if entry is not None:
            return Member(camera=camera, status="no-frame")
        if line.end is not None:
            return Member(camera=camera, status="ended", cause=line.end.cause)
        return Member(camera=camera, status="not-yet", cause=not_yet)
