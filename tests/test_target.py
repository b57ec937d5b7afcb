"""The latency target, in a simulated world: cameras, a worker with a stream and an engine, and a clock.

The controller, the costs, the look-ahead and the turns are the real ones; the world does with them what the
worker does. Not for: a real worker with a target (see `test_target_worker.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from random import Random

import pytest

from kinestream.turns import FLOOR_OF, Turns, Wishes
from kinestream_workers.costs import Costs
from kinestream_workers.demand import Demand
from kinestream_workers.settings import WorkerSettings
from kinestream_workers.target import Target

FPS = 25
TAKE_S, COMMIT_S, DECODE_S = 0.0015, 0.001, 0.0005


@dataclass
class Frame:
    camera: str
    offered_s: float


class World:
    """Cameras of 25 fps with some jitter, one worker whose engine takes `base` + `each` × n milliseconds."""

    def __init__(self, target_ms: float, base: float, each: float, *, noise: float, uploads: int = 0) -> None:
        self.random = Random(7)
        self.now_s = 0.0
        self.base, self.each, self.noise = base, each, noise
        largest = 32
        settings = WorkerSettings(max_batch=largest, target_p95_ms=target_ms, batch_is_fixed=False)
        measured = {size: base + each * size for size in (1, 2, 4, 8, 16, 32)}
        self.demand = Demand(settings, lambda: 0, measured, clock=lambda: self.now_s)
        self.turns = Turns()
        self.wishes: dict[str, Wishes] = {
            f"upload-{number}": Wishes(lane="every-frame") for number in range(uploads)
        }
        self.streams: dict[str, deque[Frame]] = {}
        self.next_s: dict[str, float] = {}
        self.served: list[tuple[float, Frame, float]] = []
        self.dropped: Counter[str] = Counter()
        self.batches: list[int] = []
        self._ready: list[Frame] = []

    def limit(self) -> float:
        """Frames a second of the engine in batches of the size that the target allows just now."""
        batch = self.demand.decide().batch
        return 1000 * batch / (self.base + self.each * batch) / (1 + self.noise / 2)

    def cameras(self, count: int) -> None:
        """From now on there are so many live cameras."""
        names = [f"live-{number:03}" for number in range(count)]
        for name in names:
            self.next_s.setdefault(name, self.now_s + self.random.random() / FPS)
        self.next_s = {name: self.next_s[name] for name in names}
        self.wishes = {name: wishes for name, wishes in self.wishes.items() if wishes.lane != "live"}
        self.wishes |= dict.fromkeys(names, Wishes())

    def run(self, seconds: float) -> None:
        """Let time pass, a batch after another; what is taken while one is inferred is the next one."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            frames = self._ready or self._prepared(self._take())
            if frames:
                self._ready = self._infer(frames)
            else:
                self._pass(0.001)

    def _prepared(self, frames: list[Frame]) -> list[Frame]:
        if frames:
            self.demand.preparing(len(frames))
            self._pass(DECODE_S * len(frames))
            self.demand.prepared()
        return frames

    def _infer(self, frames: list[Frame]) -> list[Frame]:
        """Infer and commit a batch; the next one, if it was taken meanwhile."""
        self.batches.append(len(frames))
        took_s = (self.base + self.each * len(frames)) / 1000 * (1 + self.noise * self.random.random())
        self.demand.begun(len(frames))
        ends_s = self.now_s + took_s
        following: list[Frame] = []
        while not following and self.now_s < ends_s:
            if (pause_s := self.demand.take_in_s()) > 0:
                self._pass(min(pause_s, ends_s - self.now_s) + 1e-6)
            elif not (following := self._prepared(self._take())):
                self._pass(0.001)
        self._pass(max(0.0, ends_s - self.now_s))
        self.demand.ended()
        self.demand.went(len(frames))
        committed_s = self.now_s + COMMIT_S
        self.demand.committed([], COMMIT_S)
        for frame in frames:
            latency_ms = 1000 * (committed_s - frame.offered_s)
            self.served.append((committed_s, frame, latency_ms))
            assert self.demand.target is not None
            if self.wishes.get(frame.camera, Wishes()).lane == "live":
                self.demand.target.saw(latency_ms, committed_s)
        return following

    def _pass(self, seconds: float) -> None:
        self.now_s += seconds
        for name, due_s in self.next_s.items():
            while due_s <= self.now_s:
                stream = self.streams.setdefault(name, deque())
                stream.append(Frame(name, due_s))
                if len(stream) > 3:
                    self.dropped["no-room"] += 1
                    stream.popleft()
                due_s += (1 + 0.2 * (self.random.random() - 0.5)) / FPS
            self.next_s[name] = due_s

    def _take(self) -> list[Frame]:
        decision, room = self.demand.decide(), self.demand.room()
        self._pass(TAKE_S)
        self.demand.took(TAKE_S)
        assert decision.late_ms is not None
        for stream in self.streams.values():
            while stream and 1000 * (self.now_s - stream[0].offered_s) >= decision.late_ms:
                self.dropped["load"] += 1
                stream.popleft()
        plan = self.turns.plan(self.wishes, self.wishes, room)
        frames = self._owed(plan.cameras, plan.owed)
        for rank in sorted({*plan.ranks}):
            same = [name for name, its in zip(plan.cameras, plan.ranks, strict=True) if its == rank]
            while len(frames) < room and (one := self._one_each(same, room - len(frames))):
                frames += one
        self.turns.took(plan, (frame.camera for frame in frames))
        self.demand.came(len(frames))
        return frames

    def _owed(self, order: list[str], owed: int) -> list[Frame]:
        return self._one_each([name for name in order if self.wishes[name].lane != "live"], owed)

    def _one_each(self, names: list[str], most: int) -> list[Frame]:
        frames: list[Frame] = []
        for name in names:
            if len(frames) == most:
                break
            if self.wishes[name].lane != "live":
                frames.append(Frame(name, self.now_s))
            elif self.streams.get(name):
                frames.append(self.streams[name].popleft())
        return frames

    def p95_ms(self, since_s: float, until_s: float) -> float:
        """Of the live frames that were committed in this time."""
        found = sorted(
            ms for at_s, frame, ms in self.served if since_s <= at_s < until_s and frame.camera[0] == "l"
        )
        return found[int(0.95 * (len(found) - 1))]

    def rate(self, since_s: float, until_s: float) -> float:
        """Frames a second that were committed in this time."""
        return sum(since_s <= at_s < until_s for at_s, _, _ in self.served) / (until_s - since_s)


@pytest.mark.parametrize(
    ("target_ms", "base", "each", "noise"),
    [(80, 2, 0.7, 0.3), (80, 10, 3, 0.1), (200, 40, 10, 0.1)],
)
def test_a_step_from_a_fifth_to_half_as_much_again_and_back(
    target_ms: float, base: float, each: float, noise: float
) -> None:
    world = World(target_ms, base, each, noise=noise)
    world.cameras(1)
    world.run(4)  # to learn what taking and decoding take
    limit = world.limit()
    for part in (0.2, 1.5, 0.2):
        world.cameras(max(1, round(part * limit / FPS)))
        begun_s = world.now_s
        world.run(8)
        steady = begun_s + 2, world.now_s
        assert world.p95_ms(*steady) <= target_ms, f"live p95 at {part:.0%}"
        if part == 1.5:
            assert world.rate(*steady) >= 0.95 * min(limit, world.limit())
            assert world.dropped["load"] > 0
    assert world.dropped["no-room"] < 5, "what is dropped is dropped by the worker, for its cause"


def test_an_upload_keeps_its_floor_and_live_frames_their_target() -> None:
    world = World(80, 10, 3, noise=0.1, uploads=1)
    world.cameras(1)
    world.run(4)
    world.cameras(round(1.5 * world.limit() / FPS))
    begun_s = world.now_s
    world.run(6)
    assert world.p95_ms(begun_s + 2, world.now_s) <= 80
    since = [frame.camera for at_s, frame, _ in world.served if at_s >= begun_s + 2]
    assert since.count("upload-0") / len(since) == pytest.approx(1 / FLOOR_OF, rel=0.1)


def test_an_upload_gets_what_live_cameras_leave() -> None:
    world = World(80, 10, 3, noise=0.1, uploads=1)
    world.cameras(2)
    world.run(6)
    assert world.p95_ms(2, world.now_s) <= 80 and not world.dropped
    assert world.rate(2, world.now_s) >= 0.95 * world.limit()


def test_a_batch_that_is_given_is_not_changed_and_a_target_out_of_reach_still_serves() -> None:
    costs = Costs({1: 100.0, 4: 400.0})
    fixed = Target(80, costs, largest=4, fixed=True).decide(5, 1, 0)
    assert fixed.batch == 4 and fixed.late_ms == pytest.approx(445)
    free = Target(80, costs, largest=4).decide(5, 1, 0)
    assert free.batch == 1 and free.late_ms == pytest.approx(115)
    assert Target(80, Costs(), largest=4).decide(5, 1, 0).late_ms is None, (
        "nothing is known of this engine yet"
    )


def test_frames_that_turn_out_late_make_it_plan_with_less_and_early_ones_with_more() -> None:
    target = Target(80, Costs({1: 5.0, 8: 12.0}), largest=8)
    planned = [target.decide(2, 1, 0).late_ms]
    for second, latency_ms in ((1, 90), (2, 90), (3, 20), (4, 20)):
        for part in range(40):
            target.saw(latency_ms, second + part / 100)
        planned.append(target.decide(2, 1, second + 0.5).late_ms)
    first, less, least, more, most = planned
    assert first > less > least < more < most <= first


def test_an_upload_may_have_what_costs_a_live_frame_little() -> None:
    def spare(target_ms: float | None, base_ms: float, per_image_ms: float) -> int:
        settings = WorkerSettings(max_batch=32, batch_is_fixed=False, target_p95_ms=target_ms)
        demand = Demand(settings, lambda: 0, {n: base_ms + per_image_ms * n for n in (1, 2, 4, 8, 16, 32)})
        demand.decide()
        return demand.spare()

    assert spare(None, 10, 5) == 1
    assert spare(None, 20, 0.1) == 21, "21 cost a tenth more than one"
    assert spare(60, 10, 5) == 1
    assert 4 <= spare(60, 2, 0.7) <= 16
    assert spare(200, 2, 0.7) > spare(60, 2, 0.7)
    demand = Demand(WorkerSettings(max_batch=4), lambda: 0)
    assert demand.spare() == 1, "nothing is known of the engine yet"
