"""Frames of several cameras put together: made-up cameras in every order, and what is said of absent ones."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kinestream.bundle import Bundle
from kinestream.bundling import HELD_TOO_MUCH, NOT_IN_TIME, SILENT, Bundler
from kinestream.messages import ANY_CAMERA, PoseResult
from scenarios import end, record

TOLERANCE_US = 10_000
WAIT_MS = 1000.0


def bundler(cameras: str = "ab", **how: Any) -> Bundler:
    """One that waits for ever unless told so."""
    return Bundler([*cameras], **{"tolerance_us": TOLERANCE_US, "wait_ms": 1e15, "max_held": 10**9} | how)


def at(camera: str, seq: int, ms: float, status: str = "ok", **more: Any) -> PoseResult:
    """A record of a frame that was captured at a time."""
    return record(seq, None, status, camera=camera, captured_us=round(1000 * ms), **more)  # type: ignore[arg-type]


def feed(into: Bundler, records: Iterable[PoseResult], now_ms: float = 0.0) -> list[Bundle]:
    """Add records one after the other, and return what was released meanwhile."""
    bundles = []
    for one in records:
        into.add(one, now_ms)
        while bundle := into.release(now_ms):
            bundles.append(bundle)
    return bundles


def told(bundle: Bundle) -> dict[str, Any]:
    """Of each camera the seq, or why it is missing."""
    return {
        one.camera: one.result.seq if one.status == "ok" and one.result else (one.status, one.cause)
        for one in bundle.members.values()
    }


@st.composite
def lines(draw: st.DrawFn) -> list[list[PoseResult]]:
    """The records of two to four cameras in order, times going back included; each ends."""
    cameras = "abcd"[: draw(st.integers(2, 4))]
    all_of_them = []
    for camera in cameras:
        records: list[PoseResult] = []
        seq = 0
        for ms in draw(st.lists(st.integers(0, 200), max_size=12)):
            kind = draw(st.sampled_from(["ok", "ok", "stale", "gap"]))
            if kind == "gap":
                records.append(record(seq, seq + 1, "dropped", camera=camera, cause="no-room"))
            else:
                records.append(at(camera, seq, ms, kind))
            seq = records[-1].last + 1
        all_of_them.append([*records, end(seq, camera=camera)])
    return all_of_them


def interleaved(queues: Sequence[Sequence[PoseResult]], order: random.Random) -> list[PoseResult]:
    """One of the orders in which the records may come."""
    left = [list(queue) for queue in queues]
    chosen = []
    while left := [queue for queue in left if queue]:
        chosen.append(order.choice(left).pop(0))
    return chosen


@given(lines(), st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from([0.0, 30.0, 1e15]))
def test_every_frame_is_in_one_bundle_and_none_is_wider_than_the_tolerance(
    queues: list[list[PoseResult]], order: random.Random, max_held: int, wait_ms: float
) -> None:
    into = bundler("abcd"[: len(queues)], wait_ms=wait_ms, max_held=max_held)
    bundles, now_ms = [], 0.0
    for one in interleaved(queues, order):
        now_ms += order.choice([0.0, 1.0, 50.0])
        bundles += feed(into, [one], now_ms)
        assert into.held <= max_held
    assert into.held == 0 and into.due_ms is None, "all have ended, so nothing is waited for"
    for queue, camera in zip(queues, "abcd", strict=False):
        members = [bundle.members[camera] for bundle in bundles]
        assert [one.result for one in members if one.result] == [
            one for one in queue if one.captured_us is not None
        ]
    for bundle in bundles:
        times = [one.at_us for one in bundle.members.values() if one.at_us is not None]
        assert (bundle.at_us, bundle.spread_ms) == (min(times), (max(times) - min(times)) / 1000)
        assert bundle.spread_ms <= TOLERANCE_US / 1000
        assert [*bundle.members] == [*"abcd"[: len(queues)]]
        assert {one.camera for one in bundle.missing} | bundle.results.keys() == {*bundle.members}
        assert bundle.complete == (len(bundle.results) == len(queues))


@given(lines(), st.randoms(use_true_random=False), st.randoms(use_true_random=False))
def test_who_comes_first_changes_nothing(
    queues: list[list[PoseResult]], one_order: random.Random, other_order: random.Random
) -> None:
    frames = [[one for one in queue if one.seq_to is None] for queue in queues]
    cameras = "abcd"[: len(queues)]

    def results(order: random.Random) -> list[dict[str, PoseResult | None]]:
        bundles = feed(bundler(cameras), interleaved(frames, order))
        return [{name: one.result for name, one in bundle.members.items()} for bundle in bundles]

    assert results(one_order) == results(other_order)


@st.composite
def jittering(draw: st.DrawFn) -> tuple[list[PoseResult], list[PoseResult]]:
    """Two cameras whose frames are more than two tolerances apart, some of which never were."""
    both: list[list[PoseResult]] = []
    for camera in "ab":
        ms, records = draw(st.floats(0, 50)), []
        for seq in range(draw(st.integers(1, 20))):
            ms += draw(st.floats(20.01, 60))
            if draw(st.integers(0, 4)):
                records.append(at(camera, seq, ms))
        both.append(records)
    return both[0], both[1]


@given(jittering(), st.randoms(use_true_random=False))
def test_with_half_of_the_interval_as_tolerance_each_frame_meets_the_nearest(
    both: tuple[list[PoseResult], list[PoseResult]], order: random.Random
) -> None:
    left, right = both
    records = interleaved([[*left, end(99, camera="a")], [*right, end(99, camera="b")]], order)
    met = {(told(bundle)["a"], told(bundle)["b"]) for bundle in feed(bundler(), records) if bundle.complete}
    near = {
        (a.seq, b.seq)
        for a in left
        for b in right
        if abs((a.captured_us or 0) - (b.captured_us or 0)) <= TOLERANCE_US
    }
    assert met == near


def test_an_offset_is_added_to_a_cameras_times() -> None:
    into = bundler(offsets_us={"b": -5_000_000})
    records = [at("a", 0, 100), at("a", 1, 140), at("b", 0, 5103), at("b", 1, 5139)]
    first, second = feed(into, records)
    assert [told(first), told(second)] == [{"a": 0, "b": 0}, {"a": 1, "b": 1}]
    assert [(first.at_us, first.spread_ms), (second.at_us, second.spread_ms)] == [(100_000, 3), (139_000, 1)]
    assert first.members["b"].at_us == 103_000
    assert first.members["b"].result == records[2], "the record itself is left as it is"


class TestWhoIsMissing:
    def test_has_the_record_of_its_frame(self) -> None:
        stale = at("b", 0, 3, "stale", cause="too-old")
        (bundle,) = feed(bundler(), [at("a", 0, 0), stale])
        assert told(bundle) == {"a": 0, "b": ("stale", "too-old")}
        assert bundle.members["b"].result == stale
        assert (bundle.complete, bundle.missing, [*bundle.results]) == (False, (bundle.members["b"],), ["a"])

    def test_or_the_record_of_the_gap_it_fell_into(self) -> None:
        gap = record(1, 2, "dropped", camera="b", cause="producer-behind")
        records = [*(at("a", seq, 40 * seq) for seq in range(4)), at("b", 0, 1), gap, at("b", 3, 121)]
        assert [told(bundle)["b"] for bundle in feed(bundler(), records)] == [
            0,
            ("dropped", "producer-behind"),
            ("dropped", "producer-behind"),
            3,
        ]

    def test_or_had_no_frame_at_that_time(self) -> None:
        records = [at("a", 0, 0), at("a", 1, 40), at("b", 0, 41)]
        assert [told(bundle)["b"] for bundle in feed(bundler(), records)] == [("no-frame", ""), 0]

    def test_or_has_ended_which_is_not_waited_for(self) -> None:
        over = PoseResult(camera="b", run=1, seq=1, status="end", cause="source-failed: unplugged")
        records = [at("a", 0, 0), at("b", 0, 1), over, at("a", 1, 40), at("a", 2, 80)]
        bundles = feed(bundler(), records)
        assert [told(bundle)["b"] for bundle in bundles] == [0, *[("ended", "source-failed: unplugged")] * 2]

    def test_or_lost_its_last_frames_before_it_ended(self) -> None:
        gap = record(1, 2, "lost", camera="b")
        records = [at("b", 0, 1), gap, end(3, camera="b"), *(at("a", seq, 40 * seq) for seq in range(4))]
        assert [told(bundle)["b"] for bundle in feed(bundler(), records)] == [
            0,
            ("lost", ""),
            ("lost", ""),
            ("ended", ""),
        ]

    def test_or_was_trimmed_before_anybody_read_it(self) -> None:
        trimmed = PoseResult(camera=ANY_CAMERA, run=1, seq=0, seq_to=9, status="missing", cause="trimmed")
        records = [at("a", 0, 0), at("b", 0, 0), trimmed, at("a", 5, 200), at("b", 7, 280), at("a", 7, 281)]
        bundles = feed(bundler(), records)
        assert [told(bundle) for bundle in bundles] == [
            {"a": 0, "b": 0},
            {"a": 5, "b": ("missing", "trimmed")},
            {"a": 7, "b": 7},
        ]

    def test_and_is_there_again_with_its_next_run(self) -> None:
        records = [end(1, camera="b"), at("a", 0, 0), at("b", 0, 40, run=2), at("a", 1, 41)]
        bundles = feed(bundler(), records)
        assert [told(bundle)["b"] for bundle in bundles] == [("ended", ""), 0]


class TestWaiting:
    def test_a_silent_camera_is_waited_for_once(self) -> None:
        into = bundler(wait_ms=WAIT_MS)
        into.add(at("a", 0, 0), 500.0)
        into.add(at("a", 1, 40), 540.0)
        assert (into.release(1499.0), into.due_ms) == (None, 1500.0)
        bundles = [into.release(1500.0), into.release(1500.0), into.release(1500.0)]
        assert [told(one) for one in bundles if one] == [
            {"a": 0, "b": ("not-yet", NOT_IN_TIME)},
            {"a": 1, "b": ("not-yet", SILENT)},
        ]
        assert [told(one)["b"] for one in feed(into, [at("a", 2, 80)], 1501.0)] == [("not-yet", SILENT)]

    def test_and_again_once_something_of_it_has_come(self) -> None:
        into = bundler(wait_ms=WAIT_MS)
        into.add(at("a", 0, 0), 0.0)
        assert into.release(WAIT_MS)
        (late,) = feed(into, [at("b", 0, 1), at("a", 1, 40)], WAIT_MS + 1)
        assert told(late) == {"a": ("no-frame", ""), "b": 0}, "what comes late is told all the same"
        assert into.held == 1
        assert [told(one) for one in feed(into, [at("b", 1, 41)], WAIT_MS + 2)] == [{"a": 1, "b": 1}]

    def test_others_are_put_together_while_one_is_silent(self) -> None:
        into = bundler("abc", wait_ms=WAIT_MS)
        assert feed(into, [at("a", 0, 0), at("b", 0, 1)], 0.0) == []
        assert [told(one) for one in feed(into, [], WAIT_MS)] == []
        first = into.release(WAIT_MS)
        assert first is not None
        assert told(first) == {"a": 0, "b": 0, "c": ("not-yet", NOT_IN_TIME)}

    def test_no_more_is_held_than_allowed(self) -> None:
        into = bundler(max_held=3)
        bundles = feed(into, [at("a", seq, 40 * seq) for seq in range(10)])
        assert into.held == 3
        assert [told(one) for one in bundles] == [
            {"a": seq, "b": ("not-yet", HELD_TOO_MUCH)} for seq in range(7)
        ]


class TestRecordings:
    def test_are_put_together_by_their_own_time(self) -> None:
        into = bundler(clock="media", again=False, offsets_us={"b": 1_000_000})
        records = [at("a", seq, 5000 + seq, media_time_s=1 + seq / 25) for seq in range(3)]
        records += [at("b", seq, 9000 + seq, media_time_s=0.002 + seq / 25) for seq in range(3)]
        bundles = feed(into, [*records, end(3, camera="a"), end(3, camera="b")])
        assert [told(one) for one in bundles] == [{"a": seq, "b": seq} for seq in range(3)]
        assert [one.at_us for one in bundles] == [1_000_000, 1_040_000, 1_080_000]
        assert bundles[0].spread_ms == 2

    def test_are_over_when_all_have_ended(self) -> None:
        into = bundler(clock="media", again=False)
        feed(into, [at("a", 0, 0, media_time_s=0.0), end(1, camera="a")])
        assert not into.finished
        feed(into, [at("b", 0, 0, media_time_s=0.0), end(1, camera="b")])
        assert into.finished
        assert feed(into, [at("a", 0, 0, run=2, media_time_s=0.0)]) == [], "a later run is another recording"

    def test_whose_end_nobody_saw_end_with_their_next_run(self) -> None:
        into = bundler(clock="media", again=False)
        records = [at("a", 0, 0, media_time_s=0.0), at("a", 0, 0, run=2, media_time_s=0.0)]
        feed(into, [*records, at("b", 0, 0, media_time_s=0.04), at("b", 1, 0, media_time_s=0.08)])
        bundles = feed(into, [at("b", 2, 0, media_time_s=0.12), end(3, camera="b")])
        assert told(bundles[0])["a"] == ("ended", "next-run")
        assert into.finished
