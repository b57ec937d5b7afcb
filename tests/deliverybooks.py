"""What the model of delivery keeps: records, streams with their holders, and ledgers, all in plain Python.

Not for: what changes them (see `deliverymodel.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

Name = tuple[int, int]
"""Run and seq of a frame of one camera."""


class Record(NamedTuple):
    """What matters of a published record."""

    camera: str
    run: int
    seq: int
    last: int
    status: str
    cause: str
    lost_from: int | None = None


@dataclass
class Holding:
    """Who holds a frame, how often it was delivered, and whether its lease ran out."""

    owner: str
    deliveries: int = 1
    expired: bool = False


@dataclass
class RunBook:
    """The ledger of one run."""

    lane: str
    state: str = "open"
    produced: int = 0
    fenced: bool = False
    priority: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, status: str, cause: str, frames: int) -> None:
        """Count frames under their status, and under their cause if there is one."""
        self.counts[status] += frames
        if cause:
            self.counts[f"{status}:{cause}"] += frames


@dataclass
class Camera:
    """One camera's stream, group and newest run."""

    newest: int = 0
    group: bool = False
    exists: bool = False
    frames: list[Name] = field(default_factory=list)
    held: dict[Name, Holding] = field(default_factory=dict)

    def waiting(self) -> list[Name]:
        """Frames that nobody has taken, oldest first."""
        return [name for name in self.frames if name not in self.held]
