"""When to take the next frames: as late as the engine allows without ever waiting for them.

What a worker holds, nobody can overtake: frames of an upload that it took early delay the live frame that
comes just after, and a live frame that it took early grows old in its hands while newer ones arrive. So
while the engine is busy, the next batch is taken only when it is time to fetch and decode it. An idle
engine never waits. Pure: it is told times, of any one monotonic clock. Not for: whose frames are taken (see
`kinestream.turns`), nor how many.
"""

from __future__ import annotations

from collections import deque

from kinestream_workers.costs import Costs

_FORGETTING = 0.05
"""Of a rare slow take or decoding, this part is forgotten with each that is quicker."""

_LEARNING = 0.1
"""Weight of the newest duration in the mean."""

_MARGIN, _MARGIN_S = 1.5, 0.002
"""To be ready too early costs a live frame that much age; to be late costs the engine as much idling."""

_WORTHWHILE = 1 / 8
"""Of the engine's time for one frame: what it would idle, at least, for a frame to be asked for earlier."""

_RECHECK_S, _LONGEST_RECHECK_S = 0.001, 0.005
"""An engine that should be through with what it has, and is not, is looked at again after half its time for a
frame, within these bounds: each look is a call to Redis."""


class Durations:
    """Of something that is done again and again, in seconds.

    `slowest` is about the longest of late: a new high counts at once, and is forgotten slowly. `usual` is
    the mean of late.
    """

    def __init__(self) -> None:
        self.slowest = self.usual = 0.0

    def saw(self, seconds: float) -> None:
        """It lasted so long."""
        self.slowest = max(seconds, self.slowest + _FORGETTING * (seconds - self.slowest))
        self.usual += _LEARNING * (seconds - self.usual)


class AtWork:
    """The batches that the engine, or the decoders, were given: they do one after the other."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._sizes: deque[int] = deque()
        self._since_s = 0.0

    @property
    def frames(self) -> int:
        """How many there are in these batches."""
        return sum(self._sizes)

    @property
    def at(self) -> int:
        """How many there are in the batch that they are at."""
        return self._sizes[0] if self._sizes else 0

    def begun(self, size: int, now_s: float) -> None:
        """Another batch was given to them."""
        if not self._sizes:
            self._since_s = now_s
        self._sizes.append(size)

    def ended(self, now_s: float, worked: tuple[int, float] | None = None) -> float:
        """The first one is done; how long it took. `worked` is how many images were left in it, and the
        seconds that they took, where that is known better. A batch in which none was left teaches nothing.
        """
        size, took_s = worked or (self._sizes[0], now_s - self._since_s)
        self._sizes.popleft()
        self._since_s = now_s
        if size:
            self._costs.saw(size, 1000 * took_s)
        return took_s

    def left_s(self, now_s: float) -> float:
        """Seconds until they are done with all of them."""
        if not self._sizes:
            return 0.0
        first, *others = map(self._costs.quick_ms, self._sizes)
        return max(0.0, self._since_s + first / 1000 - now_s) + sum(others) / 1000


class Lookahead:
    """What is before the engine and the decoders just now, and how long it takes to get more."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._preparing = Costs()
        self._take = Durations()
        self._prepare = Durations()
        self.engine = AtWork(costs)
        self.decoders = AtWork(self._preparing)

    def took(self, seconds: float) -> None:
        """Asking for frames and getting them lasted so long."""
        self._take.saw(seconds)

    def prepared(self, now_s: float) -> None:
        """The decoders are done with a batch."""
        self._prepare.saw(self.decoders.ended(now_s))

    @property
    def lead_s(self) -> float:
        """From asking for frames until they are ready for the engine, to be on the safe side."""
        return _MARGIN * (self._take.slowest + self._prepare.slowest) + _MARGIN_S

    @property
    def usual_s(self) -> float:
        """The same as it usually is, for planning: a rare hiccup must not make all batches small."""
        return self._take.usual + self._prepare.usual + _MARGIN_S

    def take_in_s(self, waiting: int, queued: int, now_s: float) -> float:
        """Seconds until frames should be asked for; 0 is now.

        `waiting` frames are held and not through the engine yet, of these `queued` are not with the decoders
        yet. More are needed only when the engine would run out of frames, and not before the decoders do.
        """
        engine_s = self.idle_in_s(waiting, now_s)
        decoders_s = self.decoders.left_s(now_s) + self._preparing.quick_ms(queued) / 1000
        ask_s = _MARGIN * self._take.slowest + _MARGIN_S
        return max(0.0, engine_s - self.lead_s, decoders_s - ask_s)

    def spare_in_s(self, waiting: int, now_s: float) -> float:
        """Seconds until a frame should be asked for that must not be in the way of others; 0 is now.

        It is ready when the engine has nothing else to do. Others that come after it was asked for would not
        be ready much earlier than it, so what they wait for is this one frame, as if the engine were at it.
        Where an engine takes so long that it would hardly idle meanwhile, it is let come to its end first:
        nobody knows that end well enough. `waiting` as above.
        """
        idle_s, one_s = self.idle_in_s(waiting, now_s), self._costs.ms(1) / 1000
        ahead_s = self._take.usual + self._prepare.usual
        if ahead_s < _WORTHWHILE * one_s:
            ahead_s = 0.0
        if not waiting or (ahead_s > 0 and not self.any_in_line(waiting)):
            return max(0.0, idle_s - ahead_s)
        return max(_RECHECK_S, min(one_s / 2, _LONGEST_RECHECK_S), idle_s - ahead_s)

    def any_in_line(self, waiting: int) -> bool:
        """Whether frames wait for the engine, behind those that it is at; if in doubt, they do."""
        return waiting > self.engine.at

    def idle_in_s(self, waiting: int, now_s: float) -> float:
        """Seconds until the engine has done all that is held; 0 is now."""
        not_begun = max(0, waiting - self.engine.frames)
        return self.engine.left_s(now_s) + self._costs.quick_ms(not_begun) / 1000
