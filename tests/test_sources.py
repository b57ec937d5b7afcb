"""Sources: what the user's words open, the times of frames, the test card as a camera by the clock."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from kinestream.errors import SourceError
from kinestream.keys import check_camera
from kinestream.testcard import TestCard
from kinestream.video import VideoWriter
from kinestream_ingest.pacing import CATCH_UP_S, Clock
from kinestream_ingest.sources import Source, open_source
from kinestream_ingest.sources.source import camera_name
from waiting import wait_until_sync

SMALL = "testcard://?athletes=1&size=320x180&fps=10"
TIMES = [0.5, 0.54, 0.7, 0.71, 1.5]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Five pictures at irregular times, the first of them not at 0."""
    path = tmp_path / "a film.mp4"
    with VideoWriter(path, 64, 48) as writer:
        for number, time_s in enumerate(TIMES):
            writer.write(np.full((48, 64, 3), 30 * number, np.uint8), time_s)
    return path


class FakeClock(Clock):
    """A clock that is late by what a test says, frame by frame, and on time from then on."""

    def __init__(self, late_s: list[float]) -> None:
        super().__init__()
        self.asked: list[float] = []
        self._late_s = iter(late_s)

    def wait_until(self, time_s: float) -> float:
        self.asked.append(time_s)
        return next(self._late_s, 0.0)


def clocked(source: Source, late_s: list[float] | None = None) -> FakeClock:
    """Give a source a clock that does not wait."""
    clock = FakeClock(late_s or [])
    source._clock = clock  # type: ignore[attr-defined]
    return clock


class TestOpening:
    def test_a_path(self, film: Path) -> None:
        source = open_source(str(film))
        assert (source.name, source.description, source.live) == ("a-film", "a film.mp4", False)
        assert (source.width, source.height, source.frames) == (64, 48, 5)

    @pytest.mark.parametrize("host", ["", "localhost"])
    def test_a_file_url(self, film: Path, host: str) -> None:
        source = open_source(f"file://{host}{quote(str(film))}")
        assert source.description == "a film.mp4"
        assert len([*source]) == 5

    def test_the_test_card(self) -> None:
        source = open_source(f"{SMALL}&seconds=2")
        assert (source.name, source.live) == ("testcard", True)
        assert (source.width, source.height, source.frames, source.fps) == (320, 180, 20, 10)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("none.mp4", "there is no video file none.mp4"),
            ("", "there is no video file without a name"),
            ("user:secret@camera/stream", "there is no video file …@camera/stream;"),
            ("rtsp:/user:sec@ret@camera/stream", "there is no video file …@camera/stream;"),
            (
                "testcard",
                r"testcard; a source is a video file, pictures .*, a webcam .*rtsp://.*http://.*testcard://",
            ),
            ("file:///none.mp4", "there is no video file /none.mp4"),
            ("file://elsewhere/none.mp4", "no host"),
            ("file://", "absolute path"),
            ("rtmp://user:secret@camera/1", "rtmp:// is no kind of source that is known here; a source is"),
            ("testcard://?athletes=99", "athletes must be 1 to 4"),
            ("testcard://?colour=red", "unknown test card option"),
        ],
    )
    def test_of_something_else_fails_in_one_line(
        self, text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SourceError, match=words) as raised:
            open_source(text)
        assert "\n" not in str(raised.value)
        assert "secret" not in str(raised.value)

    def test_reads_the_first_picture_so_that_a_broken_file_is_known_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "film.mp4"
        path.write_bytes(b"no film")
        with pytest.raises(SourceError, match="cannot be read as a video"):
            open_source(str(path))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("jump", "jump"),
        ("a film (2)", "a-film-2"),
        (".hidden", "hidden"),
        ("Übung", "bung"),
        ("跳", "video"),
        ("x" * 100, "x" * 64),
        ("2024-05-01_09.30", "2024-05-01_09.30"),
    ],
)
def test_every_file_has_a_name_that_a_camera_may_have(text: str, name: str) -> None:
    assert check_camera(camera_name(text)) == name


class TestVideoFile:
    def test_gives_every_picture_with_its_time(self, film: Path) -> None:
        before_us = time.time_ns() // 1000
        frames = [*open_source(str(film))]
        after_us = time.time_ns() // 1000
        assert [frame.media_time_s for frame in frames] == pytest.approx(TIMES)
        assert [round(frame.picture("").mean() / 30) for frame in frames] == [0, 1, 2, 3, 4]
        first_us = frames[0].captured_us
        assert before_us <= first_us <= after_us
        assert [frame.captured_us - first_us for frame in frames] == [0, 40_000, 200_000, 210_000, 1_000_000]
        assert {frame.repeat for frame in frames} == {None}
        assert [*open_source(str(film)).repeats()] == []

    def test_can_be_read_again(self, film: Path) -> None:
        source = open_source(str(film))
        assert len([*source]) == len([*source]) == 5

    @pytest.mark.parametrize("pace", ["camera", "playback"])
    def test_plays_at_its_own_times_and_skips_nothing(self, film: Path, pace: str) -> None:
        source = open_source(str(film), pace=pace)  # type: ignore[arg-type]
        clock = clocked(source, [0, 100, 100])
        assert len([*source]) == 5
        assert clock.asked == pytest.approx(TIMES)

    def test_is_read_without_a_clock_unless_told(self, film: Path) -> None:
        source = open_source(str(film))
        clock = clocked(source)
        assert len([*source]) == 5
        assert clock.asked == []

    def test_ends_when_it_is_closed(self, film: Path) -> None:
        source = open_source(str(film))
        frames = iter(source)
        next(frames)
        source.close()
        assert [*frames] == []

    def test_that_breaks_midway_says_so_after_its_last_frame(self, film: Path) -> None:
        film.write_bytes(film.read_bytes()[:-20])
        source = open_source(str(film))
        frames = []
        with pytest.raises(SourceError, match=r"a film\.mp4 is damaged"):
            for frame in source:
                frames.append(frame)
        assert 1 <= len(frames) < 5


class TestTestCard:
    def test_makes_each_picture_at_its_time(self) -> None:
        source = open_source(f"{SMALL}&seconds=1")
        clock = clocked(source)
        before_us = time.time_ns() // 1000
        frames = [*source]
        assert [frame.media_time_s for frame in frames] == pytest.approx(
            [number / 10 for number in range(10)]
        )
        assert clock.asked == [frame.media_time_s for frame in frames]
        captured = [frame.captured_us for frame in frames]
        assert captured == sorted(captured)
        assert before_us <= captured[0]
        assert captured[-1] <= time.time_ns() // 1000, "a camera captures now, not when it is due"

    def test_is_the_card_s_picture_with_the_label_written_into_it(self) -> None:
        frame = next(islice(open_source(SMALL, pace="unpaced"), 3, None))
        card = TestCard.parse(SMALL)
        assert np.array_equal(frame.picture("cam  seq 3"), card.draw(0.3, caption="cam  seq 3"))
        assert not np.array_equal(frame.picture("cam  seq 3"), frame.picture("cam  seq 4"))

    def test_a_little_late_makes_every_picture_late(self) -> None:
        source = open_source(f"{SMALL}&seconds=1")
        clocked(source, [0, 0.4, 0.3, CATCH_UP_S])
        assert len([*source]) == 10

    def test_much_too_late_goes_on_with_the_time(self) -> None:
        source = open_source(f"{SMALL}&seconds=2")
        clocked(
            source, [0, 0, 0.95]
        )  # the third picture, due at 0.2, could be made at 1.15: that is the one of 1.1
        times = [frame.media_time_s for frame in source]
        assert times == pytest.approx([0, 0.1, *(number / 10 for number in range(11, 20))])

    def test_frozen_beyond_its_end_ends(self) -> None:
        source = open_source(f"{SMALL}&seconds=2")
        clocked(source, [0, 100])
        assert len([*source]) == 1

    def test_slower_than_the_catching_up_makes_its_late_pictures(self) -> None:
        source = open_source("testcard://?athletes=1&size=320x180&fps=1&seconds=3")
        clocked(source, [0, 0.7, 0.7])
        assert len([*source]) == 3

    @pytest.mark.parametrize("pace", ["playback", "unpaced"])
    def test_as_a_recording_skips_nothing(self, pace: str) -> None:
        source = open_source(f"{SMALL}&seconds=1", pace=pace)  # type: ignore[arg-type]
        clock = clocked(source, [0, 100, 100])
        assert len([*source]) == 10
        assert len(clock.asked) == (10 if pace == "playback" else 0)

    def test_unpaced_is_captured_on_its_own_clock(self) -> None:
        frames = [*open_source(f"{SMALL}&seconds=1", pace="unpaced")]
        assert [frame.captured_us - frames[0].captured_us for frame in frames] == [
            *range(0, 1_000_000, 100_000)
        ]

    def test_keeps_real_time(self) -> None:
        """By the real clock: the seventh picture of 60 a second cannot come before a tenth of a second."""
        began = time.monotonic()
        next(islice(open_source("testcard://?athletes=1&size=320x180&fps=60"), 6, None))
        assert time.monotonic() - began >= 0.1

    def test_is_endless_unless_told_and_ends_when_it_is_closed(self) -> None:
        source = open_source("testcard://?athletes=1&size=320x180&fps=0.001")
        assert source.frames is None
        got: list[float | None] = []
        thread = threading.Thread(target=lambda: got.extend(f.media_time_s for f in source), daemon=True)
        thread.start()
        wait_until_sync(lambda: got or thread.is_alive(), "the first picture")
        source.close()
        thread.join(10)
        assert not thread.is_alive(), (
            "close must end the wait for a picture that is due in a quarter of an hour"
        )

    def test_with_loop_repeats_its_pictures_under_their_numbers(self) -> None:
        source = open_source(f"{SMALL}&seconds=1.2&loop=0.5", pace="unpaced")
        frames = [*source]
        assert [frame.repeat for frame in frames] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
        assert frames[7].media_time_s == pytest.approx(0.7), "time goes on"
        beforehand = [*source.repeats()]
        assert [frame.repeat for frame in beforehand] == [0, 1, 2, 3, 4]
        for frame in frames:
            assert frame.repeat is not None
            assert np.array_equal(frame.picture("x"), beforehand[frame.repeat].picture("x"))
        assert [*open_source(SMALL).repeats()] == []

    def test_has_exact_times_at_broken_rates(self) -> None:
        frames = islice(open_source("testcard://?athletes=1&size=320x180&fps=29.97", pace="unpaced"), 100)
        for number, frame in enumerate(frames):
            assert frame.media_time_s is not None
            assert abs(Fraction(frame.media_time_s) - Fraction(number) / Fraction("29.97")) < Fraction(
                1, 10**9
            )
