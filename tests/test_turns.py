"""Whose turn it is: ranks, fair shares and the floor, in a world where Redis is a few numbers.

`take` below is what `lua/take.lua` does; that the script really does it is for `test_delivery_property.py`.
Not for: the order in which a worker infers what it took.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deliverymodel import Model
from kinestream.delivery import Limits
from kinestream.errors import UsageError
from kinestream.turns import FLOOR_OF, Turns, Wishes, read_wishes

LIVE, UPLOAD = Wishes(lane="live"), Wishes(lane="every-frame")
URGENT = Wishes(lane="live", priority=5)
ENDLESS = 10**9


class World:
    """Cameras with so many frames waiting, and workers with turns of their own that take them."""

    def __init__(self, wishes: dict[str, Wishes], workers: int = 1) -> None:
        self.wishes = wishes
        self.waiting: Counter[str] = Counter()
        self.workers = [Turns() for _ in range(workers)]
        self.had: Counter[str] = Counter()
        self._takes = 0

    def take(self, room: int) -> Counter[str]:
        """Let the next worker take, and return of which cameras how many."""
        turns = self.workers[self._takes % len(self.workers)]
        self._takes += 1
        plan = turns.plan(self.wishes, self.wishes, room)
        model = Model([*self.wishes], Limits())
        for camera, at in model.cameras.items():
            at.frames = [(1, seq) for seq in range(min(room, self.waiting[camera]))]
        taken = [camera for camera, _, _ in model.take("w", plan.cameras, room, plan.ranks, plan.owed)]
        turns.took(plan, taken)
        self.waiting -= Counter(taken)
        self.had += Counter(taken)
        return Counter(taken)

    def saturate(self, *cameras: str) -> None:
        """Give these more frames than anybody can take."""
        self.waiting |= dict.fromkeys(cameras, ENDLESS)


quickly = settings(deadline=None, max_examples=40)
many = st.integers(1, 6)
rooms = st.integers(1, 12)


@quickly
@given(equals=many, room=rooms, workers=st.integers(1, 3))
def test_equals_get_equal_shares(equals: int, room: int, workers: int) -> None:
    cameras = [f"c{number}" for number in range(equals)]
    world = World(dict.fromkeys(cameras, LIVE), workers)
    world.saturate(*cameras)
    for _ in range(10 * equals * workers):
        world.take(room)
    assert max(world.had.values()) - min(world.had.values()) <= workers * max(1, room % equals or 1)


@quickly
@given(
    live=many,
    uploads=many,
    room=rooms,
    workers=st.integers(1, 3),
    urgent=st.booleans(),
    takes=st.integers(20, 40),
)
def test_nobody_is_starved_and_the_first_in_rank_get_the_rest(
    live: int, uploads: int, room: int, workers: int, urgent: bool, takes: int
) -> None:
    firsts = {f"live-{number}": URGENT if urgent else LIVE for number in range(live)}
    world = World(firsts | {f"upload-{number}": UPLOAD for number in range(uploads)}, workers)
    world.saturate(*world.wishes)
    for _ in range(takes * workers):
        world.take(room)
    behind = [world.had[camera] for camera in world.wishes if camera not in firsts]
    assert sum(behind) == workers * (room * takes // FLOOR_OF)
    assert max(behind) - min(behind) <= 2 * workers


@quickly
@given(room=rooms, live=st.lists(st.integers(0, 3), min_size=200, max_size=200))
def test_live_frames_never_wait_for_an_upload_while_a_worker_has_room_for_them_and_the_floor(
    room: int, live: list[int]
) -> None:
    world = World({"live": LIVE, "upload": UPLOAD})
    world.saturate("upload")
    for arrived in live:
        world.waiting["live"] += arrived
        waited = world.waiting["live"]
        taken = world.take(room)
        floor = -(-room // FLOOR_OF)
        assert taken["live"] >= min(waited, room - floor)
        assert taken.total() == room, "the upload gets all that is left"


@quickly
@given(room=rooms, idle=st.integers(1, 40))
def test_who_had_nothing_for_a_while_has_saved_nothing_up(room: int, idle: int) -> None:
    world = World({"steady": LIVE, "back": LIVE})
    world.saturate("steady")
    for _ in range(idle):
        world.take(room)
    world.saturate("back")
    world.had.clear()
    for _ in range(20):
        world.take(room)
    assert abs(world.had["steady"] - world.had["back"]) <= room + 1


def test_three_ranks_behind_one_another_all_get_something() -> None:
    world = World({"urgent": URGENT, "a": LIVE, "b": LIVE, "upload": UPLOAD})
    world.saturate(*world.wishes)
    for _ in range(240):
        world.take(4)
    assert world.had == {"urgent": 840, "a": 40, "b": 40, "upload": 40}
    world.waiting["urgent"] = 0
    world.had.clear()
    for _ in range(240):
        world.take(4)
    assert world.had == {"a": 420, "b": 420, "upload": 120}


def test_a_priority_counts_before_the_lane() -> None:
    world = World({"urgent-upload": Wishes(lane="every-frame", priority=1), "live": LIVE})
    world.saturate(*world.wishes)
    world.take(7)
    assert world.had == {"urgent-upload": 7}


@pytest.mark.parametrize("wrong", [{"priority": -1}, {"priority": 10}, {"max_age_ms": 0}])
def test_wishes_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"priority must be 0 to 9|max-age-ms must be 1 to"):
        Wishes(**wrong)


def test_what_a_ledger_says() -> None:
    assert read_wishes(b"every-frame", b"3", b"250") == Wishes(lane="every-frame", priority=3, max_age_ms=250)
    assert read_wishes(b"", b"", b"") == LIVE
    for nonsense in ((b"live", b"x", b""), (b"live", b"99", b""), (b"live", b"1", b"\xff")):
        assert read_wishes(*nonsense) == LIVE
