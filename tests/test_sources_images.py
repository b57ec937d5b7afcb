"""Pictures in files as a source: order, times, damage, and what becomes of EXIF, greys and transparency."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kinestream.errors import SourceError, UsageError
from kinestream.keys import check_camera
from kinestream_ingest.sources import NoPicture, Source, open_source


def save(path: Path, grey: int, size: tuple[int, int] = (48, 64)) -> Path:
    assert cv2.imwrite(str(path), np.full((*size, 3), grey, np.uint8))
    return path


def greys(source: Source) -> list[int]:
    return [round(float(frame.picture("").mean())) for frame in source]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    folder.mkdir()
    for number in (10, 2, 1):
        save(folder / f"photo{number}.png", 10 * number)
    (folder / "notes.txt").write_text("no picture")
    (folder / "._photo1.png").write_bytes(b"what a Mac leaves behind")
    (folder / "more.png").mkdir()
    return folder


def test_a_folder_in_natural_order(photos: Path) -> None:
    source = open_source(str(photos))
    assert (source.name, source.frames, source.live, source.returns) == ("my-photos", 3, False, False)
    assert (source.width, source.height) == (64, 48)
    assert source.description == "3 pictures, my photos"
    assert greys(source) == [10, 20, 100]
    assert greys(source) == [10, 20, 100], "it can be read again"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("photo?.png", [10, 20]), ("photo1*.png", [10, 100]), ("photo[2-9].png", [20]), ("../**/*.png", None)],
)
def test_a_pattern(photos: Path, pattern: str, expected: list[int] | None) -> None:
    source = open_source(f"{photos}/{pattern}")
    assert greys(source) == (expected or [10, 20, 100])
    check_camera(source.name)


def test_a_single_picture(photos: Path) -> None:
    source = open_source(str(photos / "photo2.png"))
    assert (source.name, source.description, source.frames) == ("photo2", "1 picture, photo2.png", 1)
    assert greys(source) == [20]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    save(tmp_path / "shot[1].png", 50)
    assert greys(open_source(str(tmp_path / "shot[1].png"))) == [50]


@pytest.mark.parametrize("place", [".", "..", "here"])
def test_the_folder_where_one_is_has_a_name(
    photos: Path, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (photos / "here").symlink_to(photos)
    save(tmp_path / "a.png", 1)
    monkeypatch.chdir(photos)
    assert check_camera(open_source(place).name)


@pytest.mark.parametrize("paced", [None, "unpaced"])
def test_without_a_rate_they_are_a_second_apart_and_have_no_media_time(
    photos: Path, paced: str | None
) -> None:
    os.utime(photos / "photo1.png", (0, 0))  # the times of files are whatever copying them made of them
    frames = [*open_source(str(photos), pace=paced)]  # type: ignore[arg-type]
    assert {frame.media_time_s for frame in frames} == {None}
    assert [frame.captured_us - frames[0].captured_us for frame in frames] == [0, 1_000_000, 2_000_000]


def test_with_a_rate_they_have_times(photos: Path) -> None:
    source = open_source(f"images://{photos}?fps=25".replace(" ", "%20"))
    frames = [*source]
    assert source.fps == 25
    assert [frame.media_time_s for frame in frames] == [0, 0.04, 0.08]
    assert [frame.captured_us - frames[0].captured_us for frame in frames] == [0, 40_000, 80_000]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("images://{}?fps=0", "fps must be a number above 0, got 0"),
        ("images://{}?fps=fast", "fps must be a number above 0, got fast"),
        ("images://{}?speed=2", "unknown option speed of images://; there is fps=25"),
        ("{}/more.png", "there are no pictures in the folder"),
        ("{}/*.gif", "there are no pictures that match"),
        ("{}/none.jpg", "there is no picture"),
        ("{}/none/", "there is no video file"),
    ],
)
def test_a_mistake_is_one_line(photos: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        open_source(text.format(photos))
    assert "\n" not in str(raised.value)


class TestDamage:
    def test_of_one_is_its_frame_given_up_on(self, photos: Path) -> None:
        (photos / "photo2.png").write_bytes(b"\x89PNG\r\n\x1a\nno more than that")
        frames = [*open_source(str(photos))]
        with pytest.raises(NoPicture, match=r"photo2\.png is undecodable") as raised:
            frames[1].picture("")
        assert raised.value.cause == "undecodable"
        assert [round(frames[at].picture("").mean()) for at in (0, 2)] == [10, 100]

    def test_of_the_first_leaves_the_others(self, photos: Path) -> None:
        (photos / "photo1.png").write_bytes(b"")
        source = open_source(str(photos))
        assert (source.width, source.height, source.frames) == (64, 48, 3)

    def test_of_all_is_an_error_that_names_one(self, photos: Path) -> None:
        for path in photos.glob("photo*.png"):
            path.write_bytes(b"nothing")
        with pytest.raises(
            SourceError, match=r"none of 3 pictures, my photos can be read; photo1\.png is undec"
        ):
            open_source(str(photos))

    def test_one_that_goes_away_is_unreadable(self, photos: Path) -> None:
        frames = [*open_source(str(photos))]
        (photos / "photo10.png").unlink()
        with pytest.raises(NoPicture, match=r"photo10\.png cannot be read: No such file") as raised:
            frames[2].picture("")
        assert raised.value.cause == "unreadable"

    def test_more_pixels_than_a_frame_may_have_are_refused(self, photos: Path) -> None:
        cv2.imwrite(str(photos / "photo11.png"), np.zeros((8000, 8000), np.uint8))
        frames = [*open_source(str(photos))]
        with pytest.raises(NoPicture, match="50000000 pixels are allowed, got 8000x8000") as raised:
            frames[3].picture("")
        assert raised.value.cause == "too-large"


class TestKinds:
    def one(self, path: Path) -> np.ndarray:
        [frame] = open_source(str(path))
        return frame.picture("")

    def test_each_has_its_own_size(self, tmp_path: Path) -> None:
        save(tmp_path / "1.jpg", 50, (48, 64))
        save(tmp_path / "2.jpg", 50, (30, 20))
        assert [f.picture("").shape[:2] for f in open_source(str(tmp_path))] == [(48, 64), (30, 20)]

    def test_grey_becomes_colour(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "1.png"), np.full((4, 6), 77, np.uint8))
        assert self.one(tmp_path / "1.png").tolist() == [[[77] * 3] * 6] * 4

    def test_sixteen_bits_become_eight(self, tmp_path: Path) -> None:
        for suffix in ("png", "tif"):
            cv2.imwrite(str(tmp_path / f"1.{suffix}"), np.full((4, 6), 200 * 257, np.uint16))
            image = self.one(tmp_path / f"1.{suffix}")
            assert (image.dtype, image.min(), image.max()) == (np.uint8, 200, 200)

    def test_transparency_is_left_out(self, tmp_path: Path) -> None:
        picture = np.full((4, 6, 4), 90, np.uint8)
        picture[..., 3] = 0
        cv2.imwrite(str(tmp_path / "1.png"), picture)
        assert self.one(tmp_path / "1.png").tolist() == [[[90] * 3] * 6] * 4

    def test_a_phone_s_picture_is_turned_upright(self, tmp_path: Path) -> None:
        """EXIF orientation 6: the stored picture is to be turned clockwise."""
        stored = np.zeros((40, 80, 3), np.uint8)
        stored[:, :40] = 255  # the left half, which is the upper half when it is upright
        jpeg = cv2.imencode(".jpg", stored)[1].tobytes()
        tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        exif = b"Exif\0\0" + tiff
        marked = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
        (tmp_path / "1.jpg").write_bytes(marked)
        image = self.one(tmp_path / "1.jpg")
        assert image.shape == (80, 40, 3)
        assert image[:35].min() > 200
        assert image[45:].max() < 50

    @pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "webp", "bmp", "tif", "TIFF", "ppm", "jp2"])
    def test_suffixes(self, tmp_path: Path, suffix: str) -> None:
        save(tmp_path / f"1.{suffix}", 100)
        assert abs(float(self.one(tmp_path / f"1.{suffix}").mean()) - 100) < 2

    def test_a_text_is_no_picture_whatever_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "1.jpg").write_text("no picture")
        with pytest.raises(SourceError, match=r"1\.jpg is undecodable"):
            open_source(str(tmp_path / "1.jpg"))
