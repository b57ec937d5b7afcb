"""When a picture was taken, by the camera's own clock where it tells it, else when its packet arrived.

RTSP cameras send RTCP sender reports, which say what time of the wall clock a timestamp of the stream stands
for; libav hands that on with each packet (producer reference time). A camera whose clock is not set, as many
are not, would make every picture hours old: its clock counts only if it is near this host's.

Pure: numbers in, numbers out. Not for: reading packets (see `network.py`).
"""

from __future__ import annotations

import struct
from typing import Literal

from kinestream.errors import UsageError

Wanted = Literal["auto", "camera", "arrival"]
"""`camera` trusts its clock however far it is from ours; `auto` only if it is near."""

NEAR_US = 500_000
"""A camera that is kept in time is off by milliseconds, and its pictures take some more to arrive."""

_PRFT = struct.Struct("q")
"""AVProducerReferenceTime begins with the wall clock's microseconds."""


class CameraClock:
    """Maps a picture's timestamp in the stream to microseconds of the wall clock.

    `name` says which clock the last picture was given: `camera` or `arrival`. `off_us` is by how much the
    camera's clock is behind the arrival of its packets; None if it tells none.
    """

    def __init__(self, wanted: Wanted = "auto") -> None:
        self.name: Literal["camera", "arrival"] = "arrival"
        self.off_us: int | None = None
        self._wanted = wanted
        self._zero_us: int | None = None
        self._told = False

    def note(self, stream_us: int, reference: bytes, arrived_us: int) -> None:
        """A packet of this time in the stream came with a reference time, and arrived then."""
        if len(reference) < _PRFT.size:
            return
        (wall_us,) = _PRFT.unpack_from(reference)
        self.off_us = arrived_us - wall_us
        # libav hands the first one on with the picture before its own, whose time would be an interval late.
        if self._told:
            self._zero_us = wall_us - stream_us
        self._told = True

    def captured_us(self, stream_us: int | None, arrived_us: int) -> int:
        """When the picture of this time in the stream was taken; its last packet arrived at `arrived_us`."""
        self.name = "arrival"
        if self._wanted == "arrival" or self._zero_us is None or stream_us is None:
            return arrived_us
        taken_us = self._zero_us + stream_us
        if self._wanted == "auto" and abs(arrived_us - taken_us) > NEAR_US:
            return arrived_us
        self.name = "camera"
        return taken_us


def parse_wanted(value: str) -> Wanted:
    """Read what somebody typed; raises `UsageError`."""
    for known in ("auto", "camera", "arrival"):
        if value == known:
            return known
    raise UsageError(f"a camera's clock is auto, camera or arrival, got {value[:20]!r}")
