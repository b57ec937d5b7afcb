"""When a batch is due, told a time: no Redis, no waiting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinestream_workers.batcher import Batcher


def test_a_full_batch_is_due_at_once() -> None:
    batcher: Batcher[str] = Batcher(2, 1.0)
    batcher.add("a", 0.0)
    assert batcher.due_in(0.0) == 1.0
    batcher.add("b", 0.1)
    assert batcher.due_in(0.1) == 0
    assert batcher.pop() == ["a", "b"]


def test_the_oldest_frame_sets_the_deadline() -> None:
    batcher: Batcher[str] = Batcher(8, 1.0)
    batcher.add("a", 5.0)
    batcher.add("b", 5.9)
    assert batcher.due_in(5.75) == pytest.approx(0.25)
    assert batcher.due_in(7.0) == 0
    assert batcher.pop() == ["a", "b"]


def test_nothing_is_due_when_nothing_is_there() -> None:
    batcher: Batcher[str] = Batcher(2, 0.0)
    assert batcher.due_in(0.0) is None
    assert batcher.pop() == []


def test_a_redelivered_frame_goes_alone_and_in_its_turn() -> None:
    batcher: Batcher[str] = Batcher(4, 1.0)
    batcher.add("early suspect", 0.0, alone=True)
    batcher.add("a", 0.1)
    batcher.add("suspect", 0.1, alone=True)
    batcher.add("b", 0.2)
    assert batcher.due_in(0.2) == 0
    assert [batcher.pop() for _ in range(3)] == [["early suspect"], ["a", "b"], ["suspect"]]
    batcher.add("another suspect", 0.3, alone=True)
    batcher.add("c", 0.4)
    assert [batcher.pop(), batcher.pop()] == [["another suspect"], ["c"]]


@pytest.mark.parametrize(("max_batch", "max_wait_s"), [(0, 1.0), (1, -0.1)])
def test_numbers_that_make_no_sense_are_refused(max_batch: int, max_wait_s: float) -> None:
    with pytest.raises(ValueError, match="must"):
        Batcher(max_batch, max_wait_s)


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_every_frame_comes_out_once_in_batches_that_fit(alone: list[bool], max_batch: int) -> None:
    batcher: Batcher[int] = Batcher(max_batch, 0.5)
    for frame, by_itself in enumerate(alone):
        batcher.add(frame, float(frame), alone=by_itself)
    batches = []
    while len(batcher):
        batches.append(batcher.pop())
    assert all(1 <= len(batch) <= max_batch for batch in batches)
    assert sorted(frame for batch in batches for frame in batch) == list(range(len(alone)))
    together = [frame for batch in batches for frame in batch if not alone[frame]]
    assert together == sorted(together)
    assert all(len(batch) == 1 for batch in batches if any(alone[frame] for frame in batch))
