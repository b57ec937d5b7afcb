"""One bundle: what each camera has at one instant, or why it has nothing.

Not for: how it comes about (see `bundling.py`), nor getting some (see `bundles.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kinestream.messages import PoseResult, Status

MemberStatus = Status | Literal["not-yet", "no-frame", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one camera has in a bundle.

    status     what it says
    ok         `result` has the poses
    dropped, stale, failed, lost, missing
               the camera had a frame, of which there are no poses; `cause` is the record's. `result` is that
               record, or None where one record stood for several frames, whose times are unknown
    not-yet    nothing came of this camera; `cause` says why it was not waited for any longer
    no-frame   the camera has frames before and after, but none within the tolerance
    ended      the camera's run is over; `cause` is that of its `end`

    `at_us` is the frame's time with the camera's offset, in microseconds; None without a `result`.
    """

    camera: str
    status: MemberStatus
    cause: str = ""
    result: PoseResult | None = None
    at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One instant: a member for each camera asked for, in that order, there or missing.

    `at_us` is the earliest member's time, `spread_ms` how much later the latest one is. `cursor` is filled in
    by `subscribe_bundles`.
    """

    at_us: int
    spread_ms: float
    members: Mapping[str, Member]
    cursor: str = field(default="", compare=False)

    @property
    def complete(self) -> bool:
        """Whether there are poses (maybe of nobody) of every camera."""
        return not self.missing

    @property
    def missing(self) -> tuple[Member, ...]:
        """The members without poses."""
        return tuple(member for member in self.members.values() if member.status != "ok")

    @property
    def results(self) -> dict[str, PoseResult]:
        """The results with poses, by camera."""
        members = self.members.values()
        return {one.camera: one.result for one in members if one.status == "ok" and one.result is not None}
