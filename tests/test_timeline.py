"""Pictures come out in the order of capture, with their own results, whatever order records come in."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from kinestream.cursor import Cursor, EntryId
from kinestream.messages import PoseResult
from kinestream_consumers.timeline import SILENT_MS, WAIT_MS, Timeline
from scenarios import Scenario, end, record, scenarios

BEGINNING = Cursor(following=EntryId(0, 0), ordered=True)
FRAME_US = 33_333


def shown(result: PoseResult) -> bytes:
    """A packed frame that says whose it is."""
    return f"{result.camera} {result.run} {result.seq}".encode()


def ok(seq: int, camera: str = "a", *, run: int = 1, at_us: int | None = None) -> PoseResult:
    """An `ok` result that was captured at its time."""
    captured_us = 1 + seq * FRAME_US if at_us is None else at_us
    return record(seq, camera=camera, run=run, captured_us=captured_us)


def timeline(*cameras: str, start: Cursor = BEGINNING, **limits: int) -> Timeline:
    return Timeline(cameras, start, 0, **limits)


def add(line: Timeline, *results: PoseResult, now_ms: float = 0) -> None:
    for result in results:
        line.add(result, shown(result) if result.status == "ok" else None, now_ms)


def popped(line: Timeline, now_ms: float = 0, *, patient: bool = True) -> list[PoseResult]:
    """What comes out; each picture must be that of its result."""
    results = []
    while moment := line.pop(now_ms, patient=patient):
        result, packed = moment
        assert packed == (shown(result) if result.status == "ok" else b"")
        results.append(result)
    return results


def names(results: Iterable[PoseResult]) -> list[str]:
    """`a0 b3 a-end`."""
    return [f"{result.camera}{'-end' if result.status == 'end' else result.seq}" for result in results]


def test_a_picture_waits_for_the_other_cameras() -> None:
    line = timeline("a", "b")
    add(line, ok(0), ok(1), ok(2))
    assert popped(line) == []
    add(line, ok(0, "b"))
    assert names(popped(line)) == ["a0", "b0"]
    add(line, ok(1, "b"), ok(2, "b"), ok(3, "b"))
    assert names(popped(line)) == ["a1", "b1", "a2", "b2"]


def test_a_dropped_frame_tells_how_far_its_camera_is() -> None:
    line = timeline("a", "b")
    add(line, ok(0), record(0, status="dropped", camera="b", captured_us=FRAME_US))
    assert names(popped(line)) == ["a0"]


def test_a_camera_that_has_ended_is_not_waited_for() -> None:
    line = timeline("a", "b")
    add(line, ok(0), ok(0, "b"), end(1, camera="b"), ok(1))
    assert names(popped(line)) == ["a0", "b0", "b-end", "a1"]
    add(line, ok(0, "b", run=2, at_us=5 * FRAME_US), ok(2), ok(3))
    assert names(popped(line)) == ["a2", "a3"]
    add(line, ok(4, at_us=9 * FRAME_US))
    assert names(popped(line)) == ["b0"], "and again, once its next run has begun"


def test_a_camera_that_is_silent_is_not_waited_for_long() -> None:
    line = timeline("a", "b")
    add(line, ok(0), now_ms=1)
    assert popped(line, SILENT_MS - 1) == []
    assert names(popped(line, SILENT_MS)) == ["a0"]
    add(line, ok(0, "b", at_us=9 * FRAME_US), ok(1), ok(2), now_ms=SILENT_MS)
    assert names(popped(line, SILENT_MS)) == ["a1", "a2"]
    add(line, ok(3, at_us=10 * FRAME_US), now_ms=SILENT_MS)
    assert names(popped(line, SILENT_MS)) == ["b0"]


def test_workers_commit_in_any_order() -> None:
    line = timeline("a")
    add(line, ok(2), ok(1))
    assert popped(line) == []
    add(line, ok(0), end(3))
    assert names(popped(line)) == ["a0", "a1", "a2", "a-end"]


def test_a_frame_that_never_comes_is_waited_for_a_while() -> None:
    line = timeline("a")
    add(line, ok(0), ok(2))
    line.pass_time(WAIT_MS - 1)
    assert names(popped(line)) == ["a0"]
    line.pass_time(WAIT_MS)
    assert names(popped(line)) == ["a2"]
    add(line, ok(1))
    assert popped(line, patient=False) == [], "what comes too late is not shown"


def test_at_the_end_nothing_is_waited_for() -> None:
    line = timeline("a", "b")
    add(line, ok(0), ok(2), ok(5), end(7), ok(0, "b"))
    line.wait_no_longer(0)
    assert names(popped(line, patient=False)) == ["a0", "b0", "a2", "a5", "a-end"]


def test_it_can_begin_in_the_middle_of_a_run() -> None:
    for start in (
        Cursor(following=EntryId(5000, 9)),
        Cursor(following=EntryId(5000, 9), ordered=True, since_ms=5000),
    ):
        line = timeline("a", start=start)
        add(line, ok(7), ok(9), ok(8))
        assert names(popped(line)) == ["a7", "a8", "a9"]
        add(line, ok(0, run=6, at_us=10**6), ok(2, run=6, at_us=10**6 + 2))
        assert popped(line) == [], "the end of the run is waited for"
        add(line, end(10), ok(1, run=6, at_us=10**6 + 1))
        assert names(popped(line)) == ["a-end", "a0", "a1", "a2"], "a later run begins with its first frame"


def test_memory_ends_all_patience() -> None:
    size = len(shown(ok(0)))
    line = timeline("a", "b", patient_bytes=3 * size, max_bytes=100 * size)
    add(line, *map(ok, range(5)))
    assert names(popped(line)) == ["a0", "a1"], "what is held fits"


def test_what_does_not_fit_is_left_out_but_its_time_passes() -> None:
    size = len(shown(ok(0)))
    line = timeline("a", "b", patient_bytes=2 * size, max_bytes=4 * size)
    add(line, *map(ok, range(9)))
    assert line.left_out == 5
    assert names(popped(line)) == ["a0", "a1"]
    add(line, ok(9), ok(0, "b", at_us=10 * FRAME_US))
    assert names(popped(line)) == ["a2", "a3", "a9"]


def test_nothing_is_kept_of_frames_that_come_twice() -> None:
    size = len(shown(ok(0)))
    line = timeline("a", patient_bytes=2 * size, max_bytes=2 * size)
    for seq in range(50):
        add(line, ok(seq), ok(seq), ok(max(0, seq - 3)))
        assert names(popped(line)) == [f"a{seq}"]
    assert line.left_out == 0


@given(scenarios(cameras=("a", "b", "c")), st.data())
def test_any_interleaving_comes_out_in_order(scenario: Scenario, data: st.DataObject) -> None:
    """Each picture with its own result, none twice, none missing, and those of a camera in order."""
    line = timeline("a", "b", "c")
    out: list[PoseResult] = []
    with_picture = set()
    for result in scenario.committed:
        if result.status == "ok":
            at_us = (result.run * 100 + result.seq) * FRAME_US + ord(result.camera)
            result = ok(result.seq, result.camera, run=result.run, at_us=at_us)
            has_picture = data.draw(st.booleans())
            line.add(result, shown(result) if has_picture else None, 0)
            if has_picture:
                with_picture.add((result.camera, result.run, result.seq))
        else:
            line.add(result, None, 0)
        out += popped(line)
    line.wait_no_longer(0)
    out += popped(line, patient=False)
    pictures = [result for result in out if result.status == "ok"]
    assert {(one.camera, one.run, one.seq) for one in pictures} == with_picture
    assert len(pictures) == len(with_picture)
    for camera in scenario.cameras:
        mine = [(one.run, one.seq) for one in out if one.camera == camera]
        assert mine == sorted(mine)
