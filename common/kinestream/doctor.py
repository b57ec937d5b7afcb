"""What `kinestream doctor` asks, and what an answer is. Every package adds checks of its own by entry point.

Not for: any check (see `checks/`), nor for showing findings (`commands/doctor.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal

Level = Literal["ok", "warning", "error"]

GROUP = "kinestream.checks"
"""Entry points of this group are functions from `Asked` to findings."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What to look at: a Redis URL or None for this user's own server, and a worker's model and device."""

    redis_url: str | None = None
    model: str = "auto"
    engine: str | None = None
    device: str = "auto"
    mode: str | None = None
    runtime: str = "onnxruntime"
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: a `subject` in a word or two, what was found, and how to mend it where that is needed."""

    level: Level
    subject: str
    says: str
    mend: str = ""


Check = Callable[[Asked], Iterable[Finding]]


def examine(asked: Asked) -> Iterator[Finding]:
    """Yield what all checks find; a check that fails is a finding itself, and ends none of the others."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            yield from entry.load()(asked)
        except Exception as error:  # whatever is wrong here is what a doctor is for
            yield Finding("error", entry.name, f"this check failed: {type(error).__name__}: {error}")
