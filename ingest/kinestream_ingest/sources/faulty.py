"""A source that misbehaves on purpose, and by a seed: it wraps another one and spoils what that gives.

    faulty://?seed=7&cut_every=300&stall_every=200&stall_s=3&source=testcard://?motion=walk

`source` comes last and takes everything behind it. Each `…_every=N` happens with a chance of one in N at each
picture; connections are numbered, and each has faults of its own, the same ones whenever this seed is used.

Not for: faults of processes, Redis and the network (`kinestream chaos`).
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from urllib.parse import parse_qsl

import cv2
import numpy as np

from kinestream.errors import SourceError, UsageError
from kinestream.video import Image
from kinestream_ingest.sources.readahead import TIMEOUT_S, ReadAhead
from kinestream_ingest.sources.source import Away, NoPicture, Source, SourceFrame

_LOOK_S = 0.02
"""While it stalls, between two looks whether somebody closed it."""

_connections: Counter[str] = Counter()
"""How often each URL has been opened by this process."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, and how often: `…_every` is in pictures, 0 is never."""

    seed: int = 0
    refuse_every: int = 0
    """Opening fails, one time in so many."""
    cut_every: int = 0
    """The connection breaks."""
    stall_every: int = 0
    """Nothing comes for `stall_s` seconds."""
    stall_s: float = 3.0
    hang_every: int = 0
    """As a driver that hangs: for `hang_s` seconds the thread that reads does not even look whether it shall
    end."""
    hang_s: float = 30.0
    garbage_every: int = 0
    """A picture is noise, or cannot be decoded."""
    resize_every: int = 0
    """From here on pictures have half the size, or their own again."""
    jump_every: int = 0
    """From here on the clock is wrong, by up to `jump_ms` either way."""
    jump_ms: float = 5000.0
    duplicate_every: int = 0
    """A picture comes twice."""

    @classmethod
    def parse(cls, query: str) -> Faults:
        """Read the options; raises `UsageError` for an unknown one, or a value that cannot be."""
        kinds = {one.name: float if one.name.endswith(("_s", "_ms")) else int for one in fields(cls)}
        given: dict[str, float] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            try:
                given[name] = kinds[name](value)
            except (KeyError, ValueError):
                known = ", ".join(kinds)
                raise UsageError(
                    f"unknown option {name}={value} of faulty://; there are {known}, and source last"
                ) from None
            if not 0 <= given[name] < float("inf"):
                raise UsageError(f"{name} of faulty:// must be at least 0, got {value}")
        return cls(**given)  # type: ignore[arg-type]


class FaultySource:
    """The source that `open_inner` gives, spoiled; it always comes back after it broke.

    Raises `SourceError` as the inner one does, and when it refuses to open.
    """

    returns = True

    def __init__(
        self,
        url: str,
        open_inner: Callable[[str], Source],
        *,
        newest_wins: bool = True,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        query, found, inner = url.partition("://")[2].partition("source=")
        if not found or not inner:
            raise UsageError("faulty:// wraps another source: its last option is source=…")
        self._faults = Faults.parse(query.removeprefix("?").rstrip("&"))
        _connections[url] += 1
        self._random = random.Random(f"{self._faults.seed} {_connections[url]}")
        if self._happens(self._faults.refuse_every):
            raise Away("faulty: it refuses to be opened")
        self._inner = open_inner(inner)
        self.name = self._inner.name
        self.description = f"faulty {self._inner.description}"
        self.live = self._inner.live
        self.width, self.height = self._inner.width, self._inner.height
        self.frames = None
        self.fps = self._inner.fps
        self._ahead = ReadAhead(
            self._spoiled, newest_wins=newest_wins and self.live, timeout_s=timeout_s, label=self.description
        )

    @property
    def clock(self) -> str:
        return self._inner.clock

    def repeats(self) -> Iterator[SourceFrame]:
        """Nothing: the next picture may be another one."""
        yield from ()

    def __iter__(self) -> Iterator[SourceFrame]:
        return iter(self._ahead)

    def close(self) -> None:
        """End the iteration at once, and the inner source with it."""
        self._ahead.close()
        self._inner.close()

    def _happens(self, every: int) -> bool:
        return every > 0 and self._random.random() < 1 / every

    def _spoiled(self, closed: Callable[[], bool]) -> Generator[SourceFrame]:
        faults = self._faults
        jumped_us, small = 0, False
        for frame in self._inner:
            if closed():
                return
            if self._happens(faults.cut_every):
                raise SourceError("faulty: the connection is cut")
            if self._happens(faults.hang_every):
                threading.Event().wait(faults.hang_s)
            if self._happens(faults.stall_every):
                _stall(faults.stall_s, closed)
            if self._happens(faults.jump_every):
                jumped_us = round(1000 * self._random.uniform(-faults.jump_ms, faults.jump_ms))
            small ^= self._happens(faults.resize_every)
            spoiled = replace(frame, captured_us=max(0, frame.captured_us + jumped_us))
            if small:
                spoiled = replace(spoiled, picture=partial(_halved, spoiled.picture), repeat=None)
            if self._happens(faults.garbage_every):
                seed = self._random.randrange(2**32)
                spoiled = replace(spoiled, picture=partial(_garbage, spoiled.picture, seed), repeat=None)
            yield spoiled
            if self._happens(faults.duplicate_every):
                yield spoiled


def _stall(seconds: float, closed: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not closed() and time.monotonic() < until:
        time.sleep(_LOOK_S)


def _halved(picture: Callable[[str], Image], label: str) -> Image:
    whole = picture(label)
    height, width = whole.shape[:2]
    return cv2.resize(whole, (max(1, width // 2), max(1, height // 2)))  # type: ignore[return-value]


def _garbage(picture: Callable[[str], Image], seed: int, label: str) -> Image:
    """Noise of the picture's size, or no picture at all."""
    noise = np.random.default_rng(seed)
    if noise.random() < 0.5:
        raise NoPicture("undecodable", "undecodable: faulty: garbage")
    return noise.integers(0, 256, picture(label).shape, np.uint8)
