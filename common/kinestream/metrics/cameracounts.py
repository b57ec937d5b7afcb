"""What became of each camera's frames since this process looks: counters that only grow, run after run.

A ledger belongs to one run, and a metric to a camera. So a run is followed until nothing of it can change any
more, and what its ledger grows by is added up. What was there at the first look is not counted: a counter
that began with it would jump whenever this process is restarted.

Pure. Not for: reading ledgers (see `exporter.py`).
"""

from __future__ import annotations

from collections import Counter

from kinestream.ledger import COUNTS, Ledger
from kinestream.metrics.causes import known_causes

_MOST_CAUSES = 20
"""A camera's causes of one status that are told apart. Ours are few; programs of other makers may use as
many as they like, and a metric must not have a label for each.
"""

OTHER = "other"

PRODUCED = ("produced", "")

Key = tuple[str, str]
"""A status (or `produced`) and its cause, which may be empty."""


class CameraCounts:
    """The counters of one camera, and the runs that are still followed."""

    def __init__(self) -> None:
        self.totals: Counter[Key] = Counter({PRODUCED: 0, **dict.fromkeys(known_causes(), 0)})
        self._followed: dict[int, Ledger] = {}
        self._seen: dict[int, Counter[Key]] = {}

    @property
    def runs(self) -> list[int]:
        """The runs whose ledgers are wanted at the next look."""
        return sorted(self._followed)

    @property
    def ledgers(self) -> list[Ledger]:
        """What was read last of the runs that are followed, oldest first."""
        return [self._followed[run] for run in self.runs]

    def begin_with(self, ledger: Ledger) -> None:
        """Follow a run from where it is now."""
        self._followed[ledger.run] = ledger
        self._seen[ledger.run] = _counts(ledger)

    def update(self, run: int, ledger: Ledger | None) -> None:
        """Count what a run has grown by; follow it if it is new, and no more if it is gone (None)."""
        if ledger is None:
            self._forget(run)
            return
        counts = _counts(ledger)
        for (status, cause), frames in counts.items():
            grown = frames - self._seen.get(run, Counter())[status, cause]
            if grown > 0:  # less than before: Redis has lost its memory
                self.totals[status, self._told(status, cause)] += grown
        self._followed[run], self._seen[run] = ledger, counts

    def forget_settled(self, newest: int) -> None:
        """Follow no longer what is over, the newest run excepted: it is the one to be shown."""
        for run, ledger in list(self._followed.items()):
            if run != newest and _is_over(ledger):
                self._forget(run)

    @property
    def over(self) -> bool:
        """Whether nothing of the runs that are followed can change any more; they can only expire."""
        return all(map(_is_over, self._followed.values()))

    def _forget(self, run: int) -> None:
        self._followed.pop(run, None)
        self._seen.pop(run, None)

    def _told(self, status: str, cause: str) -> str:
        if (status, cause) in self.totals:
            return cause
        known = sum(of == status for of, _ in self.totals)
        return cause if known <= _MOST_CAUSES else OTHER


def _is_over(ledger: Ledger) -> bool:
    return ledger.state == "ended" and not ledger.in_flight


def _counts(ledger: Ledger) -> Counter[Key]:
    """What a ledger says, by status and cause; the cause is empty for what has none."""
    counts: Counter[Key] = Counter({PRODUCED: ledger.produced})
    for name, frames in ledger.causes.items():
        status, _, cause = name.partition(":")
        if status in COUNTS:
            counts[status, cause] += frames
    for status in COUNTS:
        with_cause = sum(frames for (of, _), frames in counts.items() if of == status)
        counts[status, ""] += getattr(ledger, status) - with_cause
    return counts
