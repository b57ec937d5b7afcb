"""The test card as a camera: its URL, its frames' times, its pictures, their truth and the events in them.

Not for: reading frames into a pipeline (see kinestream_ingest), or reading poses back (see
kinestream_workers.graphs).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from kinestream.errors import SourceError
from kinestream.testcard.motions import GRAVITY, LANDING, MOTIONS, TAKE_OFF, Jump
from kinestream.testcard.palette import MAX_ATHLETES
from kinestream.testcard.stage import Athlete, Figure, cast
from kinestream.testcard.truth import Truth, truth_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_SIDE, MAX_SIDE = 160, 4096
MAX_FPS = 240


@dataclass(frozen=True, slots=True)
class Event:
    """Something an athlete did: `kind` is take-off, landing or rep (the deepest point of a squat)."""

    time_s: float
    athlete: int
    kind: str
    flight_s: float | None = None  # of the jump that this take-off or landing belongs to

    @property
    def height_m(self) -> float | None:
        """How high that jump goes: g·T²/8, from take-off to its top."""
        return None if self.flight_s is None else GRAVITY * self.flight_s**2 / 8


@dataclass(frozen=True)
class TestCard:
    """A synthetic camera whose athletes' joints carry colour codes, moving along known paths.

    It is a test signal, not a picture of people: pictures and truth are pure functions of the options and of
    time. `seconds` is its length (None: endless). With `loop` the frames repeat after that many seconds,
    exactly, and so does the truth; a loop that is a multiple of two seconds cuts no jump and no squat.
    `crossing="close"` (walking only) lets athletes of nearly the same size cross, so that they hide each
    other: a hard case for trackers.
    """

    __test__ = False  # pytest: not a test, in spite of its name

    athletes: int = 4
    motion: str = "jump"
    fps: float = 30.0
    width: int = 1280
    height: int = 720
    seed: int = 7
    seconds: float | None = None
    loop: float | None = None
    crossing: str = ""

    def __post_init__(self) -> None:
        _require(1 <= self.athletes <= MAX_ATHLETES, "athletes", f"1 to {MAX_ATHLETES}", self.athletes)
        _require(self.motion in MOTIONS, "motion", " or ".join(MOTIONS), self.motion)
        _require(0 < self.fps <= MAX_FPS, "fps", f"more than 0 and at most {MAX_FPS}", self.fps)
        for side in (self.width, self.height):
            _require(
                MIN_SIDE <= side <= MAX_SIDE, "size", f"WxH, each side {MIN_SIDE} to {MAX_SIDE}", self.size
            )
        _require(0 <= self.seed < 2**53, "seed", "a whole number from 0", self.seed)
        _require(self.seconds is None or self.seconds > 0, "seconds", "more than 0", self.seconds)
        _require(self.crossing in ("", "close"), "crossing", "close", self.crossing)
        if self.crossing:
            _require(self.motion == "walk", "crossing", "used with motion=walk", f"motion={self.motion}")
        if self.loop is not None:
            frames = self.loop * self.fps
            whole = round(frames) >= 1 and abs(frames - round(frames)) < 1e-6
            _require(whole, "loop", f"a whole number of frames at fps={self.fps:g}", self.loop)

    @classmethod
    def parse(cls, url: str) -> TestCard:
        """The test card that a URL asks for, such as
        `testcard://?athletes=4&motion=jump&size=1280x720&loop=2`.

        Raises SourceError, one line that says what is allowed, for an unknown option or value.
        """
        match = re.fullmatch(r"testcard:(?://)?/?(?:\?([^#]*))?", url)
        if match is None:
            raise SourceError(f"a test card's URL is testcard://?option=value&…, got {url!r}")
        options: dict[str, Any] = {}
        for name, value in parse_qsl(match[1] or "", keep_blank_values=True):
            if name not in _READERS:
                raise SourceError(f"unknown test card option {name!r}; known are {', '.join(_READERS)}")
            if name in options or (name == "size" and "width" in options):
                raise SourceError(f"test card option {name} is given twice")
            reader, wanted = _READERS[name]
            try:
                read = reader(value)
            except (ValueError, OverflowError):
                raise SourceError(f"test card option {name} must be {wanted}, got {value!r}") from None
            options.update(read if isinstance(read, dict) else {name: read})
        return cls(**options)

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def frames(self) -> int | None:
        """How many frames it has; None if it is endless."""
        return None if self.seconds is None else max(1, round(self.seconds * self.fps))

    @property
    def loop_frames(self) -> int | None:
        """After how many frames the very same frames come again; None if they do not."""
        return None if self.loop is None else round(self.loop * self.fps)

    def frame_time(self, index: int) -> float:
        """Media time of a frame in seconds; the first is at 0. It does not wrap around with `loop`."""
        return index / self.fps

    def truth(self, t_s: float) -> Truth:
        """What is in the picture at `t_s` seconds, exactly."""
        return truth_of(self._figures(t_s), self.width, self.height)

    def draw(self, t_s: float, *, caption: str | None = None) -> NDArray[np.uint8]:
        """The picture at `t_s` seconds, (height, width, 3) uint8 BGR; `caption` follows the title in it."""
        from kinestream.testcard.drawing import draw

        return draw(self._figures(t_s), self.width, self.height, caption=caption)

    def events(self, until_s: float | None = None) -> list[Event]:
        """Take-offs, landings and repetitions before `until_s` (default: the card's length), in order of
        time.

        An athlete may be in the air at 0: then its first event is a landing. SourceError if there is no end.
        """
        end = self.seconds if until_s is None else until_s
        if end is None:
            raise SourceError("an endless test card has endless events: say until when")
        if self.loop is None:
            return sorted(self._within(end), key=_when)
        once = list(self._within(self.loop))
        rounds = range(floor(end / self.loop) + 1)
        again = (
            Event(event.time_s + k * self.loop, event.athlete, event.kind, event.flight_s)
            for k in rounds
            for event in once
        )
        return sorted((event for event in again if event.time_s < end), key=_when)

    def _within(self, end: float) -> Iterator[Event]:
        for athlete in self._athletes:
            motion = athlete.motion
            flight = motion.flight_s if isinstance(motion, Jump) else None
            for moment, kind in motion.moments():
                first = (moment - athlete.phase_s) % motion.cycle_s
                cycle = 0
                while (time := first + cycle * motion.cycle_s) < end:
                    yield Event(time, athlete.athlete, kind, flight if kind in (TAKE_OFF, LANDING) else None)
                    cycle += 1

    def _figures(self, t_s: float) -> list[Figure]:
        if self.loop is not None:
            t_s %= self.loop
            if (
                self.loop - t_s < 1e-9
            ):  # 0.3 % 0.1 is just below 0.1: the loop's first frame, not one after its last
                t_s = 0.0
        return [athlete.figure(t_s) for athlete in self._athletes]

    @cached_property
    def _athletes(self) -> tuple[Athlete, ...]:
        return cast(
            motion=self.motion,
            athletes=self.athletes,
            seed=self.seed,
            width=self.width,
            height=self.height,
            close=self.crossing == "close",
        )


def _when(event: Event) -> tuple[float, int]:
    return event.time_s, event.athlete


def _require(holds: bool, option: str, wanted: str, got: object) -> None:
    if not holds:
        raise SourceError(f"test card option {option} must be {wanted}, got {got}")


def _size(text: str) -> dict[str, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ValueError(text)
    return {"width": int(match[1]), "height": int(match[2])}


def _seconds(text: str) -> float:
    value = float(text.removesuffix("s"))
    if not 0 < value < 1e9:
        raise ValueError(text)
    return value


_READERS: dict[str, tuple[Any, str]] = {
    "athletes": (int, f"1 to {MAX_ATHLETES}"),
    "motion": (str, " or ".join(MOTIONS)),
    "fps": (float, f"more than 0 and at most {MAX_FPS}"),
    "size": (_size, f"WxH, each side {MIN_SIDE} to {MAX_SIDE}"),
    "seed": (int, "a whole number from 0"),
    "seconds": (_seconds, "a number of seconds, more than 0"),
    "loop": (_seconds, "a number of seconds, more than 0"),
    "crossing": (str, "close"),
}
