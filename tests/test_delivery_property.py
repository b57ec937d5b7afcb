"""Random interleavings of all delivery steps, compared after each with a model, on servers of all versions.

Producers are fenced and go on all the same, replies get lost, workers die, freeze and wake, memory is full
for a while, the group vanishes, Redis comes back with what it had a while ago. HYPOTHESIS_PROFILE=long tries
twenty times as much. Not for: bounds in bytes and age (see `test_delivery_memory.py`), nor for processes that
really run at the same time.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

import servers
from delivering import HOUR_MS, Delivery, outcome
from deliverybooks import Name
from deliverychecks import Seen, check
from deliveryfaults import KINDS, Faults
from deliverymodel import Model
from deliverysteps import CAMERAS, LIMITS, OFTEN, RARELY, SOMETIMES, YES_OR_NO, Producers, step
from kinestream.held import OUTCOMES, Held
from kinestream.keys import GROUP, Keys
from kinestream.messages import Status
from kinestream.redis import connect

TIMES = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 1
WORKERS = ["w1", "w2", "w3"]
LATE_MS = [None, None, HOUR_MS, 0]
"""No target, one that all frames meet, and one that none does."""


def some_cameras(chance: Random) -> list[str]:
    """Cameras in any order, mostly all of them."""
    return chance.sample(CAMERAS, chance.choice([1, 2, 3, 3]))


def some_indices(chance: Random) -> set[int]:
    """Which of the frames that a worker knows of."""
    return {chance.randrange(6) for _ in range(chance.randint(1, 6))}


def six_statuses(chance: Random) -> list[Status]:
    """What becomes of up to six frames."""
    return [chance.choice(OUTCOMES) for _ in range(6)]


class Pipeline(Producers):
    """Producers, workers and a server with a hard life."""

    def __init__(self, runner: asyncio.Runner, delivery: Delivery, faults: Faults) -> None:
        super().__init__(runner, delivery, faults)
        self.seen = Seen()
        self.workers = {name: delivery.worker(name) for name in WORKERS}
        self.known: dict[str, list[Held]] = {name: [] for name in WORKERS}
        self.saved: tuple[dict[bytes, bytes], Model] = {}, copy.deepcopy(self.model)

    @step(OFTEN, worker=WORKERS, order=some_cameras, room=range(1, 7), fault=KINDS, late_ms=LATE_MS)
    def take(
        self, worker: str, order: list[str], room: int, fault: str, late_ms: float | None = None
    ) -> None:
        """Take what there is room for; of a lost reply the worker knows nothing."""
        consumer = self.workers[worker]
        plan = consumer.turns.plan(order, consumer.wishes, room)  # that it is a fair one: `test_turns.py`
        answer = self.both(
            consumer.take(order, room, late_ms),
            lambda: self.model.take(worker, plan.cameras, room, plan.ranks, plan.owed, late_ms == 0),
            fault,
        )
        self.known[worker] += answer if isinstance(answer, list) else []

    @step(SOMETIMES, worker=WORKERS, fault=KINDS)
    def look(self, worker: str, fault: str) -> None:
        """See which cameras there are, and what they wish."""
        self.both(self.workers[worker].cameras(), lambda: sorted(self.model.active), fault)
        if not fault:
            known = {
                camera: (wishes.lane, wishes.priority)
                for camera, wishes in self.workers[worker].wishes.items()
            }
            assert known == {camera: self.model.wishes(camera) for camera in self.model.active}

    @step(RARELY, worker=WORKERS, order=some_cameras)
    def wait(self, worker: str, order: list[str]) -> None:
        """Take one frame of each camera that has one."""
        answer = self.both(self.workers[worker].wait(order, 1), lambda: self.model.wait(worker, order))
        self.known[worker] += answer

    @step(SOMETIMES, worker=WORKERS, which=some_indices, fault=KINDS)
    def renew(self, worker: str, which: set[int], fault: str) -> None:
        """Renew leases of frames that it holds, or held before it froze."""
        if picked := self.pick(worker, which):
            self.both(
                self.workers[worker].renew(picked), lambda: self.model.renew(worker, names(picked)), fault
            )

    @step(SOMETIMES, worker=WORKERS, which=some_indices, counted=YES_OR_NO, fault=KINDS)
    def hand_back(self, worker: str, which: set[int], counted: bool, fault: str) -> None:
        """Give back frames that it holds, or held before it froze."""
        if picked := self.pick(worker, which):
            self.both(
                self.workers[worker].hand_back(picked, counted=counted),
                lambda: self.model.hand_back(worker, names(picked), counted),
                fault,
            )

    @step(OFTEN, worker=WORKERS, which=some_indices, ends=six_statuses, fault=KINDS)
    def commit(self, worker: str, which: set[int], ends: list[Status], fault: str) -> None:
        """Commit outcomes of frames that it holds, or held before it froze; it may do so again and again."""
        if picked := self.pick(worker, which):
            pairs = [
                (held, end, "bad" if end == "failed" else "") for held, end in zip(picked, ends, strict=False)
            ]
            self.both(
                self.workers[worker].commit([outcome(*pair) for pair in pairs]),
                lambda: self.model.commit(
                    [(held.camera, (held.run, held.seq), end, why) for held, end, why in pairs]
                ),
                fault,
            )

    @step(SOMETIMES, worker=WORKERS, fault=KINDS, unlocked=YES_OR_NO)
    def sweep(self, worker: str, fault: str, unlocked: bool) -> None:
        """Move what expired, unless another worker swept just now."""
        if unlocked:
            self.run(self.delivery.redis.delete(self.delivery.keys.sweeper))
            self.model.locked = False
        self.both(self.workers[worker].sweep(CAMERAS), lambda: self.model.sweep(CAMERAS), fault)

    @step(SOMETIMES, worker=WORKERS)
    def freeze(self, worker: str) -> None:
        """Time passes, and this worker renews nothing."""
        for camera, name in self.model.expire(worker):
            stream, entry = self.delivery.keys.frames(camera), "{}-{}".format(*name)
            claim = self.delivery.redis.xclaim(stream, GROUP, worker, 0, [entry], idle=HOUR_MS, justid=True)
            self.run(claim)

    @step(RARELY, worker=WORKERS)
    def die(self, worker: str) -> None:
        """It comes back under its name and knows nothing."""
        self.known[worker] = []

    @step(RARELY, worker=WORKERS)
    def forget(self, worker: str) -> None:
        """What it held first has been dealt with."""
        del self.known[worker][:3]

    @step(RARELY, worker=WORKERS, fault=KINDS)
    def leave(self, worker: str, fault: str) -> None:
        """Leave the groups, which must lose nothing that is listed under its name."""
        self.both(self.workers[worker].leave(CAMERAS), lambda: None, fault)

    @step(RARELY, camera=CAMERAS)
    def lose_group(self, camera: str) -> None:
        """Somebody destroys the group."""
        if self.model.cameras[camera].group:
            full = self.model.full
            self.fill(False)  # else Redis 6.2 refuses it
            self.run(self.delivery.redis.xgroup_destroy(self.delivery.keys.frames(camera), GROUP))
            self.model.lose_group(camera)
            self.fill(full)

    @step(RARELY, full=YES_OR_NO)
    def fill(self, full: bool) -> None:
        """No byte of memory is left, or there is enough again."""
        self.run(self.delivery.redis.config_set("maxmemory", 1 if full else 0))
        self.model.full = full

    @step(RARELY)
    def save(self) -> None:
        """Redis writes what it has to disk."""
        self.saved = self.run(self.delivery.snapshot()), copy.deepcopy(self.model)

    @step(RARELY)
    def crash(self) -> None:
        """Redis comes back with what it saved last, which may be nothing."""
        snapshot, model = self.saved
        self.fill(False)
        self.run(self.delivery.come_back_with(snapshot))
        self.model, self.seen = copy.deepcopy(model), Seen()
        self.fill(model.full)

    @invariant()
    def agrees(self) -> None:
        """What Redis holds is what it must hold, and what the model says."""
        self.run(check(self.delivery, self.model, self.seen))
        self.agreed = True

    def pick(self, worker: str, which: set[int]) -> list[Held]:
        """Some of the frames that the worker knows of."""
        known = self.known[worker]
        return [known[i] for i in sorted({i % len(known) for i in which})] if known else []

    def teardown(self) -> None:
        """Finish all runs and work off what is left: then each frame must have been told exactly once."""
        try:
            if self.agreed:
                self.fill(False)
                self.drain()
        finally:
            self.run(self.delivery.redis.config_set("maxmemory", 0))
            self.run(self.delivery.redis.flushall())

    def drain(self) -> None:
        for camera in CAMERAS:
            self.begin(camera, "live", "", race=False, again=False)
            self.finish(camera, 0, 0, "")
        for worker in WORKERS:
            self.freeze(worker)
        self.sweep("w1", "", unlocked=True)
        self.known["w1"] = []
        while self.model.active:
            self.take("w1", CAMERAS, 6, "")
            assert self.known["w1"], "frames are left that nobody can take"
            self.commit("w1", set(range(6)), ["ok"] * 6, "")
            self.known["w1"] = []
        self.agrees()
        for (camera, run), book in self.model.runs.items():
            known = book.produced - book.counts["lost"]
            assert sorted(self.seen.seqs(camera, run)) == [*range(known)]
            ends = [
                one for one in self.seen.records if (one.camera, one.run, one.status) == (camera, run, "end")
            ]
            assert [(end.seq, end.lost_from or known) for end in ends] == [(book.produced, known)]


def names(held: list[Held]) -> list[tuple[str, Name]]:
    """Frames as the model names them."""
    return [(one.camera, (one.run, one.seq)) for one in held]


@pytest.mark.timeout(300 * TIMES)
@pytest.mark.parametrize("version", [*servers.BINARIES])
def test_any_interleaving_agrees_with_the_model(
    version: str, own_server: Callable[..., servers.Server], keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, faults = own_server(version).url, Faults(monkeypatch)
    with asyncio.Runner() as runner:
        redis = connect(url)
        delivery = Delivery(redis, keys, LIMITS)
        try:
            run_state_machine_as_test(
                lambda: Pipeline(runner, delivery, faults),
                settings=settings(
                    max_examples=15 * TIMES,
                    stateful_step_count=100,
                    deadline=None,
                    suppress_health_check=[*HealthCheck],
                ),
            )
        finally:
            runner.run(redis.aclose())
