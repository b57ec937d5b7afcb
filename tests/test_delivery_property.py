"""Random interleavings of all delivery steps, compared after each with a model, on a server of each version at hand.

Producers are fenced and go on all the same, replies get lost, workers die, freeze and wake, memory is full for a while,
the group vanishes, Redis comes back with what it had a while ago. HYPOTHESIS_PROFILE=long tries thirty times as much.
Not for: bounds in bytes and age (see `test_delivery_memory.py`), nor for processes that really run at the same time.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import servers
from delivering import HOUR_MS, Delivery, frame, outcome
from deliverychecks import Seen, check
from deliverymodel import Model, Name
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis.exceptions import ConnectionError, OutOfMemoryError

from kinestream.delivery import Limits, Scripts
from kinestream.errors import Fenced, RunLost
from kinestream.groupconsumer import Held
from kinestream.keys import GROUP, Keys
from kinestream.ledger import read_ledgers
from kinestream.redis import connect
from kinestream.run import Run

TIMES = 30 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 1
CAMERAS, WORKERS = ["a", "b", "c"], ["w1", "w2", "w3"]
LIMITS = Limits(live_room=2, every_frame_room=3, lease_ms=HOUR_MS // 2)

cameras, workers = st.sampled_from(CAMERAS), st.sampled_from(WORKERS)
lanes = st.sampled_from(["live", "every-frame"])
orders = st.permutations(CAMERAS).flatmap(lambda order: st.sampled_from([order, order[:1], order[:2]]))
chosen = st.sets(st.integers(0, 5), min_size=1)
faults = st.sampled_from(["", "", "", "request lost", "reply lost", "done twice"])


class Faults:
    """Stands between the product and the server: what happens to the next script that is sent."""

    def __init__(self) -> None:
        self.next = ""
        self.race: Callable[[], Coroutine[Any, Any, None]] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put itself into `Scripts`."""
        real = Scripts.call

        async def call(scripts: Scripts, name: str, keys: list[str], args: list[Any]) -> Any:
            fault, self.next = self.next, ""
            race, self.race = self.race, None
            if race:
                await race()
            if fault == "request lost":
                raise ConnectionError
            reply = await real(scripts, name, keys, args)
            if reply == b"moved" or (isinstance(reply, list) and reply[:1] == [b"moved"]):
                if fault == "dies in between":
                    raise ConnectionError
                self.next = fault  # for the call that will follow
                return reply
            if fault == "reply lost":
                raise ConnectionError
            return await real(scripts, name, keys, args) if fault == "done twice" else reply

        monkeypatch.setattr(Scripts, "call", call)


class Machine(RuleBasedStateMachine):
    """Does each step for real and in the model."""

    def __init__(self, runner: asyncio.Runner, delivery: Delivery, faults: Faults) -> None:
        super().__init__()
        self.run, self.delivery, self.faults = runner.run, delivery, faults
        self.model, self.seen = Model(CAMERAS, LIMITS), Seen()
        self.saved: tuple[dict[bytes, bytes], Model] = {}, copy.deepcopy(self.model)
        self.producers: dict[str, list[Run]] = {camera: [] for camera in CAMERAS}
        self.lost: dict[Run, int] = {}
        self.workers = {name: delivery.worker(name) for name in WORKERS}
        self.known: dict[str, list[Held]] = {name: [] for name in WORKERS}
        self.turns: Counter[str] = Counter()
        self.tokens: dict[tuple[str, int], str] = {}
        self.unanswered: dict[str, str] = {}
        self.agreed = False

    def step(self, real: Coroutine[Any, Any, Any], model: Callable[[], Any], fault: str = "") -> Any:
        """Do one step in the model and for real; both must answer, or refuse, alike. Returns the real answer."""
        self.agreed = False
        wanted = answer(model) if fault != "request lost" else ConnectionError
        if wanted is not OutOfMemoryError:  # which arises before anything else can go wrong
            wanted = {"reply lost": ConnectionError}.get(fault, wanted)
            wanted = answer(model) if fault == "done twice" else wanted
        self.faults.next = fault
        got, found = self.run(real_answer(real))
        self.faults.next = ""
        assert got == wanted, f"answered {got}, should be {wanted}"
        return found

    @initialize(lanes=st.tuples(lanes, lanes, lanes))
    def start(self, lanes: tuple[Any, ...]) -> None:
        for camera, lane in zip(CAMERAS, lanes, strict=True):
            self.begin(camera, lane, "", race=False, again=False)

    @rule(
        camera=cameras,
        lane=lanes,
        fault=faults | st.just("dies in between"),
        race=st.booleans(),
        again=st.booleans(),
    )
    def begin(self, camera: str, lane: Any, fault: str, race: bool, again: bool) -> None:
        self.agreed = False
        at, model = self.model.cameras[camera], self.model
        newest, book = at.newest, model.runs.get((camera, at.newest))
        produced = book.produced if book else 0
        token = (self.unanswered.get(camera) if again else None) or f"token {len(self.tokens)}"
        used = [number for of, number in self.tokens if of == camera]
        if race and self.producers[camera]:
            self.faults.race = lambda: self.offer_meanwhile(self.producers[camera][-1])
        self.faults.next = fault
        got, run = self.run(
            real_answer(self.delivery.begin(lane, camera, token=token, after=max(used, default=0)))
        )
        self.faults.next, self.faults.race = "", None
        number = int(self.run(self.delivery.redis.hget(self.delivery.keys.cameras, camera)) or 0)
        raced = bool(book and book.state != "ended" and book.produced != produced)
        if fault == "request lost":
            assert got is ConnectionError
        elif newest and self.tokens[camera, newest] == token:
            assert number == newest  # it was begun before
        elif model.full:
            assert got is OutOfMemoryError
        elif raced and fault == "dies in between":
            assert got is ConnectionError
            model.close(camera, newest)
        else:
            assert number > max(used, default=0)
            model.begin(camera, number, lane)
            self.tokens[camera, number] = token
        if isinstance(run, Run):
            assert run.number == number and fault != "reply lost"
            self.producers[camera].append(run)
            self.unanswered.pop(camera, None)
        elif fault == "reply lost" and got is ConnectionError:
            self.unanswered[camera] = token

    async def offer_meanwhile(self, run: Run) -> None:
        """The producer that is about to be fenced offers while the next one begins."""
        seq = run.produced
        wanted = answer(lambda: self.model.offer(run.camera, run.number, seq, seq, ""))
        got, _ = await real_answer(run.offer(frame(run, seq)))
        assert got == wanted

    @rule(camera=cameras, which=st.integers(0, 9), ahead=st.sampled_from([0, 0, 0, 0, 1, 2, -1]), fault=faults)
    def offer(self, camera: str, which: int, ahead: int, fault: str) -> None:
        run = self.producer(camera, which)
        if not run:
            return
        seq, acknowledged, cause = max(0, run.produced + ahead), run.produced, "gap" if ahead > 0 else ""
        found = self.step(
            run.offer(frame(run, seq), gap_cause=cause),
            lambda: self.model.offer(camera, run.number, seq, acknowledged, cause),
            fault,
        )
        self.note_loss(run, found)

    @rule(camera=cameras, count=st.integers(2, 6))
    def offer_several(self, camera: str, count: int) -> None:
        for _ in range(count):
            self.offer(camera, 9, 0, "")

    @rule(camera=cameras, which=st.integers(0, 9), extra=st.sampled_from([0, 0, 2]), fault=faults)
    def finish(self, camera: str, which: int, extra: int, fault: str) -> None:
        run = self.producer(camera, which)
        if not run:
            return
        frames, acknowledged = run.produced + extra, run.produced
        found = self.step(
            run.finish(frames=frames, gap_cause="gave up"),
            lambda: self.model.finish(camera, run.number, frames, acknowledged, "gave up"),
            fault,
        )
        self.note_loss(run, found)

    @rule(fault=faults)
    def finish_lost(self, fault: str) -> None:
        for run, known in self.lost.items():
            acknowledged = run.produced
            self.step(
                run.finish_lost(known),
                lambda run=run, acknowledged=acknowledged: self.model.finish_lost(
                    run.camera, run.number, acknowledged
                ),
                fault,
            )

    def producer(self, camera: str, which: int) -> Run | None:
        """Mostly the newest one, sometimes one of the two before it."""
        runs = self.producers[camera][-3:]
        return runs[max(0, len(runs) - 1 - max(0, 2 - which))] if runs else None

    def note_loss(self, run: Run, found: Any) -> None:
        if isinstance(found, RunLost):
            self.lost[run] = found.known
