"""What a source of pictures is. One file a source stands beside this one.

Not for: what becomes of a picture: encoding, naming and offering are the producer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from kinestream.errors import KinestreamError, SourceError
from kinestream.video import Image


class NoPicture(KinestreamError):
    """A frame has no picture, but the source goes on; `cause` is counted in the ledger, a few fixed words.

    The text says more, for a log line; it is empty if the cause is no news.
    """

    def __init__(self, cause: str, text: str = "") -> None:
        super().__init__(text)
        self.cause = cause


class Refused(SourceError):
    """A camera answered, and lets nobody in, or has no such stream: it is not to be asked again at once."""


class Away(SourceError):
    """A camera does not answer, or sends nothing that can be shown: it may be there later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFrame:
    """One picture of a source, and when it was made.

    `picture(label)` returns the picture: BGR, height×width×3. It may be drawn or read just then, so a frame
    that is skipped costs nothing; it raises `NoPicture` for a frame that is given up on. A test card writes
    `label` into it, other sources ignore it.
    `captured_us` is wall clock in microseconds, `media_time_s` the position in a recording or None. Frames
    with the same number in `repeat` have the same picture, label aside, so it need be encoded only once.
    `clock` is what `captured_us` is by, where that may change from picture to picture; else its source says.
    """

    picture: Callable[[str], Image]
    captured_us: int
    media_time_s: float | None = None
    repeat: int | None = None
    clock: str = ""


class Source(Protocol):
    """A camera or recording that has shown that it can be read.

    Iterating yields its frames in order, blocks until the next one is there, and belongs in a thread; it
    raises `SourceError` if the source breaks. `close` ends it, from any thread: the iteration stops at the
    next frame. A source that is not iterated is closed all the same.
    """

    @property
    def name(self) -> str:
        """What its camera is called unless somebody says otherwise."""

    @property
    def description(self) -> str:
        """What it is, in a few words that everybody may read: no credentials, no folders."""

    @property
    def live(self) -> bool:
        """Whether fresh matters more than complete: the lane, unless somebody says otherwise."""

    @property
    def returns(self) -> bool:
        """Whether it may come back after it broke: a camera may, a file does not."""

    @property
    def clock(self) -> str:
        """What `captured_us` is by: `arrival`, `camera` (its own clock), `file` or `made`."""

    @property
    def width(self) -> int:
        """Of its first picture, in pixels."""

    @property
    def height(self) -> int:
        """Of its first picture, in pixels."""

    @property
    def frames(self) -> int | None:
        """How many frames are promised, if that is known."""

    @property
    def fps(self) -> float | None:
        """Frames a second, nominal or on average, if that is known."""

    def repeats(self) -> Iterator[SourceFrame]:
        """Yield every picture that will come again and again, to be encoded before the first frame."""

    def __iter__(self) -> Iterator[SourceFrame]: ...

    def close(self) -> None: ...


def camera_name(text: str, otherwise: str = "video") -> str:
    """The nearest name that a camera may have (see `kinestream.keys`); `otherwise` if nothing is left."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")[:64].rstrip("-_.") or otherwise
