"""Records come out in the order of their frames, whatever order they came in."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from kinestream.cursor import EntryId, Position
from kinestream.messages import PoseResult
from kinestream.reorder import END_NOT_IN_TIME, HELD_TOO_MUCH, NOT_IN_TIME, REDIS_LOST_MEMORY, Reorderer
from scenarios import Scenario, end, frames_of, names, of_camera, record, scenarios


class Feed:
    """A reorderer that is fed records one by one, at time 0 unless said otherwise."""

    def __init__(self, *, wait_ms: float = math.inf, max_bytes: float = math.inf, **cursor: object) -> None:
        self.reorderer = Reorderer(wait_ms=wait_ms, max_bytes=max_bytes, **cursor)  # type: ignore[arg-type]
        self.number = 0

    def __call__(self, *results: PoseResult, now_ms: float = 0, size: int = 1) -> list[PoseResult]:
        """Add records and return all that are released on that."""
        released = []
        for result in results:
            self.reorderer.add(result, EntryId(1, self.number), size, now_ms)
            self.number += 1
            released += self.at(now_ms)
        return released

    def at(self, now_ms: float) -> list[PoseResult]:
        """What is released at that time."""
        return list(iter(lambda: self.reorderer.release(now_ms), None))


def committed(seqs: Iterable[int]) -> list[PoseResult]:
    return [record(seq) for seq in seqs]


def told(results: Iterable[PoseResult]) -> list[tuple[int, int, str]]:
    """Frames and status of records, or the cause of those that were made here."""
    return [(result.seq, result.last, result.cause or result.status) for result in results]


@settings(deadline=None)
@given(scenarios())
def test_any_interleaving_is_put_in_order(scenario: Scenario) -> None:
    feed = Feed()
    released = feed(*scenario.committed)
    for camera in scenario.cameras:
        assert of_camera(released, camera) == scenario.in_order(camera)
    assert feed.reorderer.oldest is None


@settings(deadline=None)
@given(scenarios(), st.data())
def test_what_comes_twice_is_released_once(scenario: Scenario, data: st.DataObject) -> None:
    twice = list(scenario.committed)
    for result in scenario.committed:
        if data.draw(st.booleans()):
            first = next(i for i, other in enumerate(twice) if other is result)
            twice.insert(data.draw(st.integers(first + 1, len(twice))), result)
    feed = Feed()
    released = feed(*twice)
    for camera in scenario.cameras:
        assert of_camera(released, camera) == scenario.in_order(camera)
    assert feed.reorderer.oldest is None


@settings(deadline=None)
@given(scenarios(), st.data())
def test_every_frame_is_told_once_though_some_never_come(scenario: Scenario, data: st.DataObject) -> None:
    absent = data.draw(st.sets(st.sampled_from(range(len(scenario.committed)))))
    absent = {index for index in absent if scenario.committed[index].status != "end"}
    came = [result for index, result in enumerate(scenario.committed) if index not in absent]
    feed = Feed(wait_ms=5)
    released = [other for i, result in enumerate(came) for other in feed(result, now_ms=i)]
    assert feed.reorderer.due_ms is None or feed.reorderer.due_ms > len(came) - 1
    released += feed.at(1000)
    for (camera, run), frames in scenario.runs.items():
        assert frames_of(released, camera, run) == list(range(frames))
    gone = {seq for index in absent for seq in expand(scenario.committed[index])}
    missing = {seq for result in released if result.status == "missing" for seq in expand(result)}
    assert missing >= gone
    # Whatever came while its turn was not over was released as it came.
    assert [result for result in came if not expand(result) & missing] == [
        result for result in came if any(result is other for other in released)
    ]


def expand(result: PoseResult) -> set[tuple[str, int, int]]:
    return {(result.camera, result.run, seq) for seq in range(result.seq, result.last + 1)}


def test_a_range_stands_for_its_frames() -> None:
    released = Feed()(record(4), end(5), record(1, 3, "dropped"), record(0))
    assert told(released) == [(0, 0, "ok"), (1, 3, "dropped"), (4, 4, "ok"), (5, 5, "end")]


def test_of_a_range_only_what_was_not_told_is_released() -> None:
    feed = Feed(wait_ms=5)
    assert told(feed(*committed([0, 3]))) == [(0, 0, "ok")]
    assert told(feed.at(5)) == [(1, 2, NOT_IN_TIME), (3, 3, "ok")]
    assert told(feed(record(2, 6, "dropped"), record(1))) == [(4, 6, "dropped")]


def test_a_gap_is_waited_for_as_long_as_the_record_behind_it_may_be_held() -> None:
    feed = Feed(wait_ms=100)
    assert told(feed(record(0), record(2), now_ms=10)) == [(0, 0, "ok")]
    assert told(feed(record(5), now_ms=50)) == []
    assert feed.reorderer.due_ms == 110
    assert feed.at(109) == []
    assert told(feed.at(110)) == [(1, 1, NOT_IN_TIME), (2, 2, "ok")]
    assert feed.reorderer.due_ms == 150
    assert told(feed.at(150)) == [(3, 4, NOT_IN_TIME), (5, 5, "ok")]
    assert feed.reorderer.due_ms is None
    assert feed(*committed([1, 3, 4, 0, 5])) == []  # too late: they were told to be missing
    assert told(feed(record(6))) == [(6, 6, "ok")]


def test_what_comes_at_the_last_moment_is_in_time() -> None:
    feed = Feed(wait_ms=100)
    feed(record(0), record(2))
    assert told(feed(record(1), now_ms=100)) == [(1, 1, "ok"), (2, 2, "ok")]


def test_a_camera_that_waits_holds_up_no_other() -> None:
    released = Feed()(record(1), record(0, camera="b"), record(1, camera="b"))
    assert names(released) == [("b", 1, 0, 0, "ok"), ("b", 1, 1, 1, "ok")]


def test_bytes_are_bounded_and_the_camera_that_waits_longest_gives_up_first() -> None:
    feed = Feed(max_bytes=100)
    assert feed(record(1, camera="b"), record(2), record(2, camera="b"), record(3), size=25) == []
    assert feed.reorderer.oldest == EntryId(1, 0)
    released = feed(record(4), size=1)
    assert [(result.camera, *row) for result, row in zip(released, told(released), strict=True)] == [
        ("b", 0, 0, HELD_TOO_MUCH),
        ("b", 1, 1, "ok"),
        ("b", 2, 2, "ok"),
    ]
    assert feed.reorderer.oldest == EntryId(1, 1)


def test_what_was_lost_is_not_waited_for() -> None:
    feed = Feed()
    assert told(feed(*committed([0, 1, 3]))) == [(0, 0, "ok"), (1, 1, "ok")]
    assert told(feed(end(9, lost_from=2))) == [
        (2, 2, REDIS_LOST_MEMORY),
        (3, 3, "ok"),
        (4, 8, REDIS_LOST_MEMORY),
        (9, 9, "end"),
    ]


def test_what_was_not_lost_is_waited_for() -> None:
    feed = Feed(wait_ms=100)
    feed(record(0))
    assert feed(end(9, lost_from=3)) == []
    assert told(feed(record(1), record(2))) == [
        (1, 1, "ok"),
        (2, 2, "ok"),
        (3, 8, REDIS_LOST_MEMORY),
        (9, 9, "end"),
    ]
    feed = Feed(wait_ms=100)
    feed(record(0), end(9, lost_from=3))
    released = feed.at(100)
    assert (
        told(released)
        == [
            (0, 0, "ok"),
            (1, 2, NOT_IN_TIME),
            (3, 8, REDIS_LOST_MEMORY),
            (9, 9, "end"),
        ][1:]
    )
    assert [result.status for result in released] == ["missing", "lost", "end"]


def test_nothing_is_waited_for_once_redis_began_anew() -> None:
    feed = Feed()
    feed(record(0), record(2), record(5), record(0, run=7), record(3, run=7), record(4, camera="b"))
    feed.reorderer.unblock()
    lost = REDIS_LOST_MEMORY
    released = feed.at(0)
    assert told(of_camera(released, "a")) == [
        (1, 1, lost),
        (2, 2, "ok"),
        (3, 4, lost),
        (5, 5, "ok"),
        (0, 0, "ok"),
        (1, 2, lost),
        (3, 3, "ok"),
    ]
    assert told(of_camera(released, "b")) == [(0, 3, lost), (4, 4, "ok")]
    # Whatever comes from now on is waited for again, but no run waits for an `end` of the time before.
    assert told(feed(record(1, run=8), record(0, run=8))) == [(0, 0, "ok"), (1, 1, "ok")]
    assert feed(record(3, run=8)) == []


def test_a_run_waits_for_the_end_of_the_run_before() -> None:
    feed = Feed()
    assert names(feed(record(0), record(0, run=2), end(2), record(1, run=2))) == [("a", 1, 0, 0, "ok")]
    assert names(feed(record(1))) == [
        ("a", 1, 1, 1, "ok"),
        ("a", 1, 2, 2, "end"),
        ("a", 2, 0, 0, "ok"),
        ("a", 2, 1, 1, "ok"),
    ]


def test_an_end_that_does_not_come_is_given_up_on() -> None:
    feed = Feed(wait_ms=100)
    feed(record(0), record(2), record(0, run=2))
    released = feed.at(100)
    assert told(released) == [
        (1, 1, NOT_IN_TIME),
        (2, 2, "ok"),
        (3, 3, END_NOT_IN_TIME),
        (0, 0, "ok"),
    ]
    assert [result.run for result in released] == [1, 1, 1, 2]
    assert feed(end(3), record(1)) == []


def test_a_run_of_which_nothing_was_seen_is_not_waited_for() -> None:
    feed = Feed(positions={"a": Position(3, None, begun=False)})
    assert names(feed(record(0, run=5))) == [("a", 5, 0, 0, "ok")]


def test_a_run_that_was_going_on_begins_with_what_comes_first() -> None:
    feed = Feed(positions={"a": Position(3, None, begun=False), "b": Position(3, None, begun=False)})
    assert names(feed(record(7, run=3), record(6, run=3), record(8, run=3))) == [
        ("a", 3, 7, 7, "ok"),
        ("a", 3, 8, 8, "ok"),
    ]
    assert names(feed(end(9, run=3), record(1, run=4))) == [("a", 3, 9, 9, "end")]  # run 4 begins with 0
    assert names(feed(end(4, run=3, camera="b"))) == [("b", 3, 4, 4, "end")]
    assert feed(record(50, run=2)) == []  # of a run before that


def test_a_run_whose_beginning_may_be_trimmed_begins_with_what_comes_first() -> None:
    feed = Feed(since_ms=1_760_000_000_500)
    assert names(feed(record(7, run=1_760_000_000))) == [("a", 1_760_000_000, 7, 7, "ok")]
    assert feed(record(7, run=1_760_000_001, camera="b")) == []


def test_a_run_that_has_ended_is_over() -> None:
    feed = Feed()
    assert len(feed(record(0), end(1))) == 2
    assert feed(record(0), record(1), end(1), end(2)) == []
    assert feed.reorderer.oldest is None


def test_positions_of_cameras_that_ended_are_forgotten_in_time() -> None:
    feed = Feed()
    hour = 3600 * 1000
    for number in range(50):
        feed(end(0, camera=f"upload-{number}"), now_ms=number * hour / 10)
    assert len(feed.reorderer.positions) == 10
    assert feed.reorderer.marks.count("upload") == 10
    feed(record(0, camera="upload-49", run=2), now_ms=5 * hour)  # it is back, and stays
    feed(end(0), now_ms=9 * hour)
    assert set(feed.reorderer.positions) == {"upload-49", "a"}


def test_an_end_that_comes_when_redis_began_anew_forgets_cameras_that_ended_long_ago() -> None:
    feed = Feed()
    for camera in "morning", "noon":
        feed(record(0, camera=camera), end(1, camera=camera))
    hours_later = 3 * 3600 * 1000
    feed(record(0), end(2), now_ms=hours_later)  # frame 1 is with a worker
    feed.reorderer.unblock()
    assert told(feed.at(hours_later)) == [(1, 1, REDIS_LOST_MEMORY), (2, 2, "end")]
    assert set(feed.reorderer.positions) == {"a"}
