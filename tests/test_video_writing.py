"""Written video files: times, colours, sizes, and what is there when something goes wrong."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.errors import KinestreamError, UsageError
from kinestream.video import Image, VideoWriter, read_video


def numbered(number: int, width: int = 64, height: int = 48) -> Image:
    """A picture whose grey says which one it is; eight apart survives the codec."""
    return np.full((height, width, 3), 8 * number, np.uint8)


def number_of(image: Image) -> int:
    return round(float(image.mean()) / 8)


def write(path: Path, times: list[float], width: int = 64, height: int = 48) -> Path:
    with VideoWriter(path, width, height) as writer:
        for number, time_s in enumerate(times):
            writer.write(numbered(number, width, height), time_s)
    return path


class TestWriter:
    def test_keeps_the_times_of_any_rate(self, tmp_path: Path) -> None:
        times = [3.2, 3.2 + 1001 / 30_000, 3.3, 3.34, 4.0, 4.001, 9.5]
        frames = [*read_video(write(tmp_path / "clip.mp4", times))]
        assert [frame.media_time_s for frame in frames] == pytest.approx(times, abs=1 / 180_000)
        assert [number_of(frame.image) for frame in frames] == [*range(7)]

    def test_moves_times_that_do_not_grow(self, tmp_path: Path) -> None:
        read = [frame.media_time_s for frame in read_video(write(tmp_path / "clip.mp4", [1.0, 1.0, 0.5]))]
        assert read[0] == 1.0
        assert all(0 < later - earlier < 0.001 for earlier, later in pairwise(read))

    @pytest.mark.parametrize("size", [(63, 48), (64, 47), (63, 47), (64, 48)])
    def test_makes_odd_sizes_even(self, tmp_path: Path, size: tuple[int, int]) -> None:
        [frame] = read_video(write(tmp_path / "clip.mp4", [0.0], *size))
        assert frame.image.shape == (48, 64, 3)

    def test_keeps_colours(self, tmp_path: Path) -> None:
        image = np.zeros((48, 64, 3), np.uint8)
        image[:, :32], image[:, 32:] = (40, 200, 230), (200, 60, 20)
        with VideoWriter(tmp_path / "clip.mp4", 64, 48) as writer:
            writer.write(image, 0)
        [frame] = read_video(tmp_path / "clip.mp4")
        inside = np.r_[8:24, 40:56]
        assert np.abs(frame.image[:, inside].astype(int) - image[:, inside]).max() <= 6

    def test_puts_the_index_first_and_uses_what_browsers_play(self, tmp_path: Path) -> None:
        path = write(tmp_path / "clip.mp4", [0.0, 0.1])
        assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")

    def test_names_the_file_only_when_it_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.mp4"
        writer = VideoWriter(path, 64, 48)
        writer.write(numbered(1), 0)
        assert not path.exists()
        writer.close()
        writer.close()
        assert [*tmp_path.iterdir()] == [path]

    def test_leaves_nothing_and_touches_nothing_after_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.mp4"
        path.write_text("what was there before")
        with pytest.raises(RuntimeError, match="on purpose"), VideoWriter(path, 64, 48) as writer:
            writer.write(numbered(1), 0)
            raise RuntimeError("on purpose")
        assert [*tmp_path.iterdir()] == [path]
        assert path.read_text() == "what was there before"

    def test_without_a_picture_leaves_no_file(self, tmp_path: Path) -> None:
        VideoWriter(tmp_path / "clip.mp4", 64, 48).close()
        assert [*tmp_path.iterdir()] == []

    def test_says_in_one_line_that_it_cannot_write_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot write .*clip\.mp4: no such file or directory"):
            VideoWriter(tmp_path / "none" / "clip.mp4", 64, 48)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_says_in_one_line_that_the_disk_is_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.getpid", lambda: "full")
        (tmp_path / ".clip.mp4.full.part").symlink_to("/dev/full")
        noise = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        with pytest.raises(KinestreamError, match=r"cannot write .*clip\.mp4: no space left"):
            writer = VideoWriter(tmp_path / "clip.mp4", 640, 480)
            for number in range(60):
                writer.write(noise, number / 30)
            writer.close()
        assert [*tmp_path.iterdir()] == []

    def test_refuses_a_picture_of_another_size(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "clip.mp4", 64, 48) as writer:
            writer.write(numbered(1), 0)
            with pytest.raises(ValueError, match=r"\(48, 64, 3\) was wanted, got \(64, 48, 3\)"):
                writer.write(numbered(1, 48, 64), 1)
