"""Which fault happens when, to whom, for how long: a pure function of a seed.

Not for: doing it (see `faults.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["worker", "camera", "network", "redis", "subscriber", "poison"]

RECOVERY_S = 3.0
"""From the end of a fault to the next one of the same target: a process is up again by then, as a rule. What
is hit while it starts is started again, which a supervisor would do as well."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: whom it may hit, how long it lasts (seconds), and in words what is done."""

    role: Role
    shortest_s: float
    longest_s: float
    words: str


KINDS = {
    "kill-worker": Kind("worker", 0.2, 2.0, "kill -9 with frames in its hands, and another one starts"),
    "freeze-worker": Kind("worker", 2.0, 6.0, "SIGSTOP with frames in its hands, and later SIGCONT"),
    "drain-worker": Kind("worker", 0.2, 1.0, "SIGTERM, and another one starts"),
    "kill-producer": Kind("camera", 0.2, 3.0, "kill -9, and another one starts"),
    "freeze-producer": Kind("camera", 1.0, 6.0, "SIGSTOP, and later SIGCONT"),
    "replace-producer": Kind("camera", 0.5, 2.0, "SIGSTOP, another one takes over, SIGCONT"),
    "restart-redis": Kind("redis", 0.2, 2.0, "SIGTERM, and it starts again"),
    "kill-redis": Kind("redis", 0.2, 4.0, "kill -9, and it starts again"),
    # Longer than a client's patience (a second of blocking and 5 more) now and then.
    "freeze-redis": Kind("redis", 1.0, 8.0, "SIGSTOP, and later SIGCONT"),
    "hang-camera": Kind("network", 3.0, 6.0, "the camera stays connected and sends nothing"),
    "cut-camera": Kind("network", 0.0, 0.0, "the camera cuts its connections"),
    "flood-camera": Kind("network", 1.0, 3.0, "the camera sends 20 times as many pictures"),
    "garble-camera": Kind("network", 0.5, 2.0, "the camera sends pictures that nobody can decode"),
    "kill-subscriber": Kind("subscriber", 0.2, 2.0, "kill -9, and it resumes from its cursor"),
    "poison": Kind("poison", 0.0, 0.0, "frames that are no message, no picture, or another frame"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `at_s` seconds after the beginning, for `duration_s` seconds."""

    at_s: float
    kind: str
    target: str
    duration_s: float

    def __str__(self) -> str:
        lasting = f" {self.duration_s:.1f} s" if self.duration_s else ""
        return f"{self.at_s:6.1f} s  {self.kind:<16} {self.target:<10}{lasting}  ({KINDS[self.kind].words})"


def plan(
    seed: int, *, seconds: float, faults_per_minute: float, targets: dict[Role, Sequence[str]]
) -> list[Fault]:
    """Return the faults of a run, in order of time; the same arguments give the same ones.

    They are spread evenly, with jitter. All kinds come about equally often. No target is hit again before it
    had `RECOVERY_S` to recover; where nobody is free, the next kind is tried. A role without targets is left
    out. Raises `ValueError` if there is nobody at all.
    """
    chance = random.Random(seed)
    possible = [name for name, kind in KINDS.items() if targets.get(kind.role)]
    if not possible:
        raise ValueError("a schedule needs targets, got none")
    count = max(1, round(seconds * faults_per_minute / 60))
    bag = _bag(chance, possible)
    put_back: list[str] = []  # kinds that nobody was free for: they come first next time
    free_s: dict[str, float] = {}
    faults = []
    for number in range(count):
        at_s = round((number + chance.uniform(0.1, 0.9)) * seconds / count, 2)
        passed: list[str] = []
        for kind in _next_kinds(put_back, bag, len(possible)):
            free = [name for name in targets[KINDS[kind].role] if free_s.get(name, 0.0) <= at_s]
            if free:
                faults.append(_fault(chance, at_s, kind, chance.choice(free)))
                free_s[faults[-1].target] = at_s + faults[-1].duration_s + RECOVERY_S
                break
            passed.append(kind)
        put_back = passed + put_back
    return faults


def _bag(chance: random.Random, possible: Sequence[str]) -> Iterator[str]:
    """Kinds for ever: all of them in a random order, then all of them in another one."""
    while True:
        yield from chance.sample(possible, len(possible))


def _next_kinds(put_back: list[str], bag: Iterator[str], new: int) -> Iterator[str]:
    """Kinds to try: those that had to wait, then new ones; what is tried is taken away."""
    while put_back:
        yield put_back.pop(0)
    for _ in range(new):
        yield next(bag)


def _fault(chance: random.Random, at_s: float, kind: str, target: str) -> Fault:
    shape = KINDS[kind]
    return Fault(at_s, kind, target, round(chance.uniform(shape.shortest_s, shape.longest_s), 2))
