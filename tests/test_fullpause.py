"""The wait of a producer whose stream is full: few tries in vain, and workers that never run dry.

Not for: what is done with the frame meanwhile (see `test_overload.py`).
"""

from __future__ import annotations

import pytest

from kinestream.delivery import Limits
from kinestream_ingest.fullpause import AT_ONCE, LONGEST_S, SHORTEST_S, FullPause

ROOM = Limits().every_frame_room


@pytest.mark.parametrize("rate", [5, 60, 250, 1000, 4000])
def test_few_tries_are_in_vain_and_the_stream_never_runs_dry(rate: int) -> None:
    """Workers take `rate` frames a second from one camera that has a next frame at once."""
    pause, waiting, tries, taken_in, settled = FullPause(), float(ROOM), 0, 0, 0
    for step in range(4000):
        if waiting + 1 <= ROOM:
            waiting += 1
            pause.taken_in()
            taken_in += step >= 1000
            continue
        tries += step >= 1000
        waiting -= rate * pause.next_s()
        assert waiting > 0, "the workers had nothing to do"
        settled += 1
    assert taken_in > 100
    enough_room_after = max(SHORTEST_S, min(LONGEST_S, AT_ONCE / rate)) * rate
    assert tries / taken_in <= 1.5 / enough_room_after


def test_it_begins_short_and_has_bounds() -> None:
    pause = FullPause()
    assert pause.next_s() == pytest.approx(1.5 * SHORTEST_S)
    assert [pause.next_s() for _ in range(20)][-1] == LONGEST_S
    for _ in range(20):
        for _ in range(AT_ONCE):
            pause.taken_in()
        pause.next_s()
    assert pause.next_s() < 2 * SHORTEST_S
