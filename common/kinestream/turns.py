"""Whose turn it is when a worker takes: ranks, fair shares among equals, and the floor of those behind.

A camera's *rank* follows from its priority and its lane: a higher priority stands before a lower one, and at
equal priority live cameras before complete sources, whose frames lose nothing by waiting. A worker takes rank
by rank, so a live camera's fresh frame never queues behind an upload of thousands. But of every `FLOOR_OF`
frames that a worker takes, one is owed to whoever stands behind the first rank that has frames, so that
nobody starves; and all that a rank leaves is for the next one. Among equals, the camera that has had least
goes first.

Each worker counts for itself: the shares of several workers that are each fair add up to fair ones, and Redis
keeps nothing of it. Pure: no Redis, no clock. Not for: taking (`lua/take.lua` does it, in the order that is
planned here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kinestream.errors import UsageError
from kinestream.messages import Lane

FLOOR_OF = 8
"""One frame of so many is owed to those behind: an upload goes on, at an eighth of the worker at least, while
live cameras that ask for all of it keep seven eighths.
"""

LONGEST_AGE_MS = 10**9
"""Eleven days: no live frame is worth anything by then, and scripts take no number of any size."""

HIGHEST_PRIORITY = 9
"""A small number, so that priorities stay what people can agree on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a camera wants to be served; `max_age_ms` None leaves it to each worker when a live frame is stale.

    Raises `UsageError` for a priority or an age that makes no sense.
    """

    lane: Lane = "live"
    priority: int = 0
    max_age_ms: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.priority <= HIGHEST_PRIORITY:
            raise UsageError(f"priority must be 0 to {HIGHEST_PRIORITY}, got {self.priority}")
        if self.max_age_ms is not None and not 1 <= self.max_age_ms <= LONGEST_AGE_MS:
            raise UsageError(f"max-age-ms must be 1 to {LONGEST_AGE_MS}, got {self.max_age_ms}")

    @property
    def rank(self) -> tuple[int, bool]:
        """What is less is served first."""
        return -self.priority, self.lane != "live"


_NO_WISHES = Wishes()


def read_wishes(lane: bytes, priority: bytes, max_age_ms: bytes) -> Wishes:
    """Wishes as a ledger has them; what nobody has said, or nobody can read, is left at its default."""
    try:
        return Wishes(
            lane="every-frame" if lane == b"every-frame" else "live",
            priority=int(priority or 0),
            max_age_ms=int(max_age_ms) if max_age_ms else None,
        )
    except (ValueError, UsageError):  # somebody wrote it past the scripts
        return _NO_WISHES


@dataclass(frozen=True, slots=True)
class Plan:
    """Cameras, the one that has had least first; the rank of each from 1 on; frames owed to those behind."""

    cameras: Sequence[str]
    ranks: Sequence[int]
    owed: int


class Turns:
    """The turns of one worker: `plan` a take, then tell what it brought."""

    def __init__(self) -> None:
        # What each has had, as if all had been here from the beginning, and how many were taken by then.
        self._had: dict[str, tuple[int, int]] = {}
        self._now = 0  # the least that one of those served last had had before
        self._taken = 0

    def plan(self, cameras: Iterable[str], wishes: Mapping[str, Wishes], room: int) -> Plan:
        """How to take up to `room` frames of these cameras; whose wishes are unknown is live, of priority
        0.
        """
        order = sorted(cameras, key=lambda camera: (*self._had.get(camera, (0, 0)), camera))
        rank_of = {camera: wishes.get(camera, _NO_WISHES).rank for camera in order}
        places = {rank: place for place, rank in enumerate(sorted({*rank_of.values()}), 1)}
        owed = (self._taken + room) // FLOOR_OF - self._taken // FLOOR_OF
        return Plan(order, [places[rank_of[camera]] for camera in order], owed)

    def took(self, plan: Plan, cameras: Iterable[str]) -> None:
        """Tell of which cameras a planned take brought frames, each as often as it did.

        Who had nothing to take for a while has not saved it up: it goes on from where those who were served
        meanwhile began their turn.
        """
        counts = Counter(cameras)
        begun = {camera: max(self._had.get(camera, (0, 0))[0], self._now) for camera in counts}
        self._now = min(begun.values(), default=self._now)
        self._taken += counts.total()
        self._had = {camera: self._had.get(camera, (0, 0)) for camera in plan.cameras}
        self._had |= {camera: (begun[camera] + frames, self._taken) for camera, frames in counts.items()}
