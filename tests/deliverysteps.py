"""The producers' half of the random interleavings: each step is done for real and in the model.

Not for: the workers' half and what befalls the server (see `test_delivery_property.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from redis.exceptions import ConnectionError, OutOfMemoryError

from delivering import HOUR_MS, Delivery, frame
from deliveryfaults import DIES_IN_BETWEEN, KINDS, Faults, done, modelled
from deliverymodel import Model
from kinestream.delivery import Limits
from kinestream.errors import RunLost
from kinestream.messages import Lane
from kinestream.run import Run

CAMERAS = ["a", "b", "c"]
LIMITS = Limits(live_room=2, every_frame_room=3, lease_ms=HOUR_MS // 2)

LANES: list[Lane] = ["live", "every-frame"]
PRIORITIES = [0, 0, 1]
YES_OR_NO = [True, False]
AGES = [0, 0, 0, 1, 2]
"""Of a producer: mostly the newest one acts, sometimes one before it."""

Values = Sequence[Any] | Callable[[Random], Any]
Step = TypeVar("Step", bound=Callable[..., None])
OFTEN, SOMETIMES, RARELY = 9, 3, 1
_steps: dict[str, tuple[int, dict[str, Values]]] = {}


def step(weight: int, **arguments: Values) -> Callable[[Step], Step]:
    """Make a method one of the random steps; an argument is one of the values, or what the function makes of
    chance.
    """

    def register(method: Step) -> Step:
        _steps[method.__name__] = weight, arguments
        return method

    return register


class Producers(RuleBasedStateMachine):
    """Several producers a camera, of which at most one is not fenced."""

    def __init__(self, runner: asyncio.Runner, delivery: Delivery, faults: Faults) -> None:
        super().__init__()
        self.run, self.delivery, self.faults = runner.run, delivery, faults
        self.model = Model(CAMERAS, LIMITS)
        self.agreed = False
        self.runs: dict[str, list[Run]] = {camera: [] for camera in CAMERAS}
        self.lost: dict[Run, int] = {}
        self.tokens: dict[tuple[str, int], str] = {}
        self.unanswered: dict[str, tuple[str, Lane]] = {}

    @rule(seed=st.integers(0, 2**32))
    def act(self, seed: int) -> None:
        """Do one random step.

        It is drawn here and not by hypothesis, which likes to draw the same again: then most steps find
        nothing to do.
        """
        chance = Random(seed)
        [name] = chance.choices([*_steps], [weight for weight, _ in _steps.values()])
        drawn = {
            label: values(chance) if callable(values) else chance.choice(values)
            for label, values in _steps[name][1].items()
        }
        note(f"{name} {drawn}")
        getattr(self, name)(**drawn)

    def both(self, real: Coroutine[Any, Any, Any], model: Callable[[], Any], fault: str = "") -> Any:
        """Do one step in the model and for real; both must answer, or refuse, alike. Returns the real one."""
        self.agreed = False
        should = modelled(model, fault)
        self.faults.next = fault
        did, answer = self.run(done(real))
        self.faults.next = ""
        assert did == should, f"{did} instead of {should}"
        return answer

    @initialize(lanes=st.tuples(*[st.sampled_from(LANES)] * len(CAMERAS)))
    def start(self, lanes: tuple[Lane, ...]) -> None:
        """Three cameras."""
        for camera, lane in zip(CAMERAS, lanes, strict=True):
            self.begin(camera, lane, "", race=False, again=False)

    @step(
        SOMETIMES,
        camera=CAMERAS,
        lane=LANES,
        fault=[*KINDS, DIES_IN_BETWEEN],
        race=YES_OR_NO,
        again=YES_OR_NO,
        priority=PRIORITIES,
    )
    def begin(self, camera: str, lane: Lane, fault: str, race: bool, again: bool, priority: int = 0) -> None:
        """Begin a run, or try again to; perhaps the run before is offered a frame at the same time."""
        self.agreed = False
        newest = self.model.cameras[camera].newest
        before = self.model.runs.get((camera, newest))
        produced = before.produced if before else 0
        token, lane = (again and self.unanswered.get(camera)) or (f"token {len(self.tokens)}", lane)
        used = max((number for of, number in self.tokens if of == camera), default=0)
        self.faults.next = fault
        if race and self.runs[camera]:
            self.faults.race = lambda: self.offer_meanwhile(self.runs[camera][-1])
        did, run = self.run(
            done(self.delivery.begin(lane, camera, token=token, after=used, priority=priority))
        )
        self.faults.next, self.faults.race = "", None
        number = int(self.run(self.delivery.redis.hget(self.delivery.keys.cameras, camera)) or 0)

        if fault == "request lost":
            assert did is ConnectionError
        elif newest and self.tokens[camera, newest] == token:
            assert number == newest, "a run that was begun was begun again"
        elif self.model.full:
            assert did is OutOfMemoryError
        elif fault == DIES_IN_BETWEEN and before and before.state != "ended" and before.produced != produced:
            assert did is ConnectionError
            self.model.close(camera, newest)
        else:
            assert number > used
            self.model.begin(camera, number, lane, priority)
            self.tokens[camera, number] = token
        if isinstance(run, Run):
            assert run.number == number and fault != "reply lost"
            self.runs[camera].append(run)
        if fault == "reply lost" and did is ConnectionError:
            self.unanswered[camera] = token, lane
        else:
            self.unanswered.pop(camera, None)

    async def offer_meanwhile(self, run: Run) -> None:
        """The producer that is about to be fenced offers just before the next one's script runs."""
        seq = run.produced
        should = modelled(lambda: self.model.offer(run.camera, run.number, seq, seq, ""), "")
        did, _ = await done(run.offer(frame(run, seq)))
        assert did == should, f"{did} instead of {should}"

    @step(OFTEN, camera=CAMERAS, age=AGES, ahead=[0, 0, 1, 2, -1], fault=KINDS)
    def offer(self, camera: str, age: int, ahead: int, fault: str) -> None:
        """Offer the next frame, one after a gap, or one again."""
        run = self.producer(camera, age)
        if run:
            acknowledged, seq = run.produced, max(0, run.produced + ahead)
            cause = "gap" if ahead > 0 else ""
            answer = self.both(
                run.offer(frame(run, seq), gap_cause=cause),
                lambda: self.model.offer(camera, run.number, seq, acknowledged, cause),
                fault,
            )
            self.note_loss(run, answer)

    @step(OFTEN, camera=CAMERAS, count=range(2, 6))
    def offer_some(self, camera: str, count: int) -> None:
        """What fills a camera: a producer that begins a run if its last one is over."""
        run = self.producer(camera, 0)
        book = run and self.model.runs.get((camera, run.number))
        if not book or book.state != "open":
            self.begin(camera, run.lane if run else "live", "", race=False, again=False)
        for _ in range(count):
            self.offer(camera, 0, 0, "")

    @step(SOMETIMES, camera=CAMERAS, age=AGES, more=[0, 0, 2], fault=KINDS)
    def finish(self, camera: str, age: int, more: int, fault: str) -> None:
        """End a run, perhaps with frames that were given up on."""
        run = self.producer(camera, age)
        if run:
            acknowledged, frames = run.produced, run.produced + more
            answer = self.both(
                run.finish(frames=frames, gap_cause="stopped"),
                lambda: self.model.finish(camera, run.number, frames, acknowledged, "stopped"),
                fault,
            )
            self.note_loss(run, answer)

    @step(RARELY, fault=KINDS)
    def finish_lost(self, fault: str) -> None:
        """End the run that was told first that it is lost."""
        run = next(iter(self.lost), None)
        if run:
            acknowledged = run.produced
            self.both(
                run.finish_lost(self.lost[run]),
                lambda: self.model.finish_lost(run.camera, run.number, acknowledged),
                fault,
            )
            if not fault:
                del self.lost[run]

    def producer(self, camera: str, age: int) -> Run | None:
        """The newest producer of a camera, or one `age` before it."""
        runs = self.runs[camera]
        return runs[max(0, len(runs) - 1 - age)] if runs else None

    def note_loss(self, run: Run, answer: Any) -> None:
        """Remember who was told that Redis lost memory."""
        if isinstance(answer, RunLost):
            self.lost[run] = answer.known
