"""A source that misbehaves by a seed: each fault as it was asked for, the same ones for the same seed."""

from __future__ import annotations

import uuid
from itertools import pairwise

import numpy as np
import pytest

from kinestream.errors import SourceError, UsageError
from kinestream.video import Image
from kinestream_ingest.sources import NoPicture, Source, SourceFrame, faulty, open_source
from kinestream_ingest.sources.faulty import FaultySource
from kinestream_ingest.sources.readahead import MOST_HANGING, hanging
from scripted import START_US, ScriptedSource
from waiting import wait_until_sync


def _source(options: str, frames: int = 200, **how: object) -> FaultySource:
    """The first connection of a URL that nobody opened before."""
    url = f"faulty://?{options}&source=none-{uuid.uuid4().hex}"
    return FaultySource(url, lambda _: ScriptedSource(frames), newest_wins=False, **how)  # type: ignore[arg-type]


def _seen(source: Source) -> tuple[list[SourceFrame], str]:
    """Its frames, and the error it ended with."""
    frames = []
    try:
        for frame in source:
            frames.append(frame)
    except SourceError as error:
        return frames, str(error)
    return frames, ""


def _picture(frame: SourceFrame) -> Image | str:
    try:
        return frame.picture("")
    except NoPicture as error:
        return error.cause


def test_without_faults_nothing_is_spoiled() -> None:
    source = _source("seed=1")
    frames, error = _seen(source)
    assert (len(frames), error) == (200, "")
    assert [frame.captured_us for frame in frames] == [START_US + 40_000 * n for n in range(200)]
    assert (source.name, source.description) == ("scripted", "faulty frames of a test")
    assert source.returns


def test_its_clock_is_that_of_the_source_within_it() -> None:
    inner = ScriptedSource(1)
    source = FaultySource("faulty://?source=none", lambda _: inner)
    inner.clock = "camera"  # as of an RTSP camera that tells it after a while
    assert source.clock == "camera"
    source.close()


def test_a_cut() -> None:
    frames, error = _seen(_source("cut_every=20"))
    assert error == "faulty: the connection is cut"
    assert 0 < len(frames) < 200


def test_garbage_is_noise_or_nothing() -> None:
    pictures = [_picture(frame) for frame in _seen(_source("garbage_every=4"))[0]]
    nothing = [one for one in pictures if isinstance(one, str)]
    noise = [one for one in pictures if not isinstance(one, str) and one.std() > 50]
    assert set(nothing) == {"undecodable"}
    assert len(noise) > 5
    assert len(nothing) + len(noise) < 100


def test_the_size_changes_and_changes_back() -> None:
    frames, _ = _seen(_source("resize_every=20"))
    sizes = [frame.picture("").shape[:2] for frame in frames]
    assert set(sizes) == {(48, 64), (24, 32)}
    assert 2 < sum(one != other for one, other in pairwise(sizes)) < 40


def test_the_clock_jumps_and_stays() -> None:
    frames, _ = _seen(_source("jump_every=20&jump_ms=500"))
    off = [frame.captured_us - START_US - 40_000 * number for number, frame in enumerate(frames)]
    assert min(off) < 0 < max(off)
    assert max(map(abs, off)) <= 500_000
    assert len(set(off)) < 40


def test_a_picture_comes_twice() -> None:
    times = [frame.captured_us for frame in _seen(_source("duplicate_every=5"))[0]]
    assert len(set(times)) == 200
    assert 205 < len(times) < 300


def test_a_stall_that_lasts_ends_the_connection() -> None:
    frames, error = _seen(_source("stall_every=20&stall_s=60", timeout_s=0.1))
    assert error == "no picture came for 0.1 s"
    assert len(frames) < 200


def test_one_that_hangs_is_left_behind_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinestream_ingest.sources.readahead._HANGS_S", 0.0)
    for _ in range(MOST_HANGING):
        source = _source("hang_every=1&hang_s=0.5", timeout_s=0.05)
        assert _seen(source) == ([], "no picture came for 0.05 s")
        source.close()
    assert len(hanging("faulty frames of a test")) == MOST_HANGING
    with pytest.raises(SourceError, match="3 threads that read it have not come back"):
        _source("hang_every=1&hang_s=0.5")
    wait_until_sync(lambda: not hanging("faulty frames of a test"), "the threads to come back")


def test_it_refuses_some_connections() -> None:
    url = f"faulty://?refuse_every=3&source=none-{uuid.uuid4().hex}"
    refused = 0
    for _ in range(40):
        try:
            FaultySource(url, lambda _: ScriptedSource(0)).close()
        except SourceError as error:
            assert str(error) == "faulty: it refuses to be opened"
            refused += 1
    assert 3 < refused < 30


def test_a_seed_repeats_them_and_each_connection_has_its_own() -> None:
    url = f"faulty://?cut_every=30&seed=5&source=none-{uuid.uuid4().hex}"

    def lengths() -> list[int]:
        faulty._connections.clear()
        made = [FaultySource(url, lambda _: ScriptedSource(200), newest_wins=False) for _ in range(4)]
        return [len(_seen(source)[0]) for source in made]

    first = lengths()
    assert lengths() == first
    assert len(set(first)) > 1


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("faulty://?seed=1", "faulty:// wraps another source: its last option is source="),
        ("faulty://?source=", "faulty:// wraps another source"),
        ("faulty://?cuts=1&source=0", "unknown option cuts=1 of faulty://; there are seed, refuse_every, "),
        ("faulty://?cut_every=often&source=0", "unknown option cut_every=often"),
        ("faulty://?stall_s=-1&source=0", "stall_s of faulty:// must be at least 0, got -1"),
        ("faulty://?source=nothing.mp4", "there is no video file nothing.mp4"),
    ],
)
def test_wrong_options(url: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(url)
    assert error in str(caught.value)


def test_any_source_can_be_wrapped() -> None:
    source = open_source("faulty://?seed=3&source=testcard://?size=160x160&fps=50&seconds=1", pace="unpaced")
    frames, _ = _seen(source)
    assert len(frames) == 50
    assert isinstance(frames[0].picture("x"), np.ndarray)
