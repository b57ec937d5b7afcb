"""When to take the next frames: as late as the engine allows without ever waiting for them.

What a worker holds, nobody can overtake: frames of an upload that it took early delay the live frame that
comes just after, and a live frame that it took early grows old in its hands while newer ones arrive. So
while the engine is busy, the next batch is taken only when it is time to fetch and decode it. An idle
engine never waits. Pure: it is told times, of any one monotonic clock. Not for: whose frames are taken (see
`kinestream.turns`), nor how many.
"""

from __future__ import annotations

from kinestream_workers.costs import Costs

_FORGETTING = 0.05
"""Of a rare slow take or decoding, this part is forgotten with each that is quicker."""

_LEARNING = 0.1
"""Weight of the newest duration in the mean."""

_MARGIN, _MARGIN_S = 1.5, 0.002
"""To be ready too early costs a live frame that much age; to be late costs the engine as much idling."""


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


class Lookahead:
    """What is before the engine and the decoders just now, and how long it takes to get more."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._preparing = Costs()
        self._take = Durations()
        self._prepare = Durations()
        self._at_work = {"engine": (0, 0.0), "decoders": (0, 0.0)}

    def took(self, seconds: float) -> None:
        """Asking for frames and getting them lasted so long."""
        self._take.saw(seconds)

    def begun(self, what: str, size: int, now_s: float) -> None:
        """The engine, or the decoders, have begun a batch."""
        self._at_work[what] = size, now_s

    def prepared(self, now_s: float) -> None:
        """The decoders are done with it."""
        (size, since_s), self._at_work["decoders"] = self._at_work["decoders"], (0, 0.0)
        self._prepare.saw(now_s - since_s)
        if size:
            self._preparing.saw(size, 1000 * (now_s - since_s))

    def ended(self, now_s: float) -> None:
        """The engine is done with it; batches in which no image was left cost nothing."""
        (size, since_s), self._at_work["engine"] = self._at_work["engine"], (0, 0.0)
        if size:
            self._costs.saw(size, 1000 * (now_s - since_s))

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
        decoders_s = (
            self._left_s("decoders", self._preparing, now_s) + self._preparing.quick_ms(queued) / 1000
        )
        ask_s = _MARGIN * self._take.slowest + _MARGIN_S
        return max(0.0, engine_s - self.lead_s, decoders_s - ask_s)

    def idle_in_s(self, waiting: int, now_s: float) -> float:
        """Seconds until the engine has done all that is held; 0 is now."""
        in_session = self._at_work["engine"][0]
        left_s = self._left_s("engine", self._costs, now_s)
        return left_s + self._costs.quick_ms(max(0, waiting - in_session)) / 1000

    def _left_s(self, what: str, costs: Costs, now_s: float) -> float:
        size, since_s = self._at_work[what]
        return max(0.0, since_s + costs.quick_ms(size) / 1000 - now_s) if size else 0.0
