"""Reading video files: times as ffprobe has them, pictures upright, and damage told."""

from __future__ import annotations

import gc
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinestream.errors import SourceError
from kinestream.video import Image, VideoFrame, VideoWriter, probe_video, read_video

MEDIA = Path(__file__).parents[1] / ".." / "shared" / "media"
CLIPS = ["walker.mp4", "multiperson_cam01.mp4", "multiperson_cam02.mp4", "singleperson_cam01.mp4"]

needs_ffprobe = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe on PATH")


def clip(name: str) -> Path:
    path = MEDIA / name
    if not path.exists():
        pytest.skip(f"needs {path}, which is not part of the project")
    return path


def ffprobe_times(path: Path) -> list[str]:
    """What ffprobe prints as best_effort_timestamp_time of every frame."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "default=nw=1:nk=1"]
    command += ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return printed.split()


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


def write_with_b_frames(path: Path, ticks: list[int], tick: Fraction, **options: str) -> Path:
    """A variable-rate file whose packets are not in the order in which they are shown."""
    index_first = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=index_first) as container:
        stream = container.add_stream("libx264", rate=30, options={"bf": "3", "b-adapt": "0", **options})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = tick
        for number, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="bgr24")
            frame.pts, frame.time_base = pts, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_to_the_damage(path: Path) -> tuple[list[VideoFrame], str]:
    """The frames of a damaged file, and the one line that follows them."""
    frames = []
    with pytest.raises(SourceError) as raised:
        for frame in read_video(path):
            frames.append(frame)
    assert "\n" not in str(raised.value)
    return frames, str(raised.value)


class TestTimes:
    @needs_ffprobe
    @pytest.mark.parametrize("name", CLIPS)
    def test_of_real_clips_are_those_of_ffprobe(self, name: str) -> None:
        path = clip(name)
        ours = [f"{frame.media_time_s:.6f}" for frame in read_video(path)]
        assert ours == ffprobe_times(path)

    @needs_ffprobe
    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
    def test_of_a_variable_rate_file_with_b_frames_are_those_of_ffprobe(
        self, tmp_path: Path, suffix: str
    ) -> None:
        ticks = [0, 33, 50, 117, 118, 300, 333, 1000, 1040, 1041, 1100, 1733]
        path = write_with_b_frames(tmp_path / f"clip.{suffix}", ticks, Fraction(1, 1000))
        frames = [*read_video(path)]
        assert [number_of(frame.image) for frame in frames] == [*range(12)], "not in the order of showing"
        assert [f"{frame.media_time_s:.6f}" for frame in frames] == ffprobe_times(path)
        first = frames[0].media_time_s  # MPEG-TS does not begin at 0, and that is not hidden
        assert [round(1000 * (frame.media_time_s - first)) for frame in frames] == ticks

    def test_are_exact_fractions_not_sums_of_rounded_steps(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.mp4", [*range(0, 31_031, 1001)], Fraction(1, 30_000))
        assert [*read_video(path)][30].media_time_s == 1001 / 1000

    def test_missing_from_the_file_are_counted_out_at_its_rate(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.h264", [*range(6)], Fraction(1, 50))
        with av.open(str(path)) as container:
            assert all(frame.pts is None for frame in container.decode(video=0)), "this file has times"
            rate = container.streams.video[0].guessed_rate
        frames = [*read_video(path)]
        assert rate
        assert [number_of(frame.image) for frame in frames] == [*range(6)]
        assert [frame.media_time_s for frame in frames] == pytest.approx([n / rate for n in range(6)])


def test_frames_are_freed_without_the_garbage_collector(tmp_path: Path) -> None:
    """A decoded frame in a reference cycle holds megabytes until Python happens to look for cycles."""
    path = write_with_b_frames(tmp_path / "clip.mp4", [*range(30)], Fraction(1, 30))
    gc.collect()
    gc.disable()
    try:
        assert len([*read_video(path)]) == 30
        alive = [thing for thing in gc.get_objects() if isinstance(thing, av.VideoFrame)]
    finally:
        gc.enable()
    assert len(alive) <= 2


class TestRotation:
    @pytest.mark.parametrize(
        ("degrees", "mirrored", "shown"),
        [
            (0, False, "rg/b."),
            (0, True, "gr/.b"),
            (90, False, "g./rb"),  # counter-clockwise: the right column becomes the first row
            (-90, False, "br/.g"),
            (180, False, ".b/gr"),
            (90, True, ".g/br"),
            (-90, True, "rb/g."),
            (180, True, "b./rg"),
        ],
    )
    def test_is_applied(self, tmp_path: Path, degrees: int, mirrored: bool, shown: str) -> None:
        path = tmp_path / "clip.mp4"
        stored = np.zeros((32, 64, 3), np.uint8)
        stored[:16, :32], stored[:16, 32:], stored[16:, :32] = (0, 0, 255), (0, 255, 0), (255, 0, 0)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
            stream.set_display_rotation(degrees, hflip=mirrored)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="bgr24")))
            container.mux(stream.encode(None))

        [frame] = read_video(path)
        height, width, _ = frame.image.shape
        assert (width, height) == ((32, 64) if abs(degrees) == 90 else (64, 32))
        corners = [[frame.image[y, x] for x in (8, width - 8)] for y in (8, height - 8)]
        names = ["".join("bgr"[c.argmax()] if c.max() > 128 else "." for c in row) for row in corners]
        assert "/".join(names) == shown
        assert frame.image.flags.c_contiguous

        info = probe_video(path)
        assert (info.width, info.height) == (width, height)


class TestProbe:
    def test_tells_what_the_file_promises(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.mp4", [*range(20)], Fraction(1, 25))
        info = probe_video(path)
        assert (info.width, info.height, info.frames) == (64, 48, 20)
        assert info.average_fps == pytest.approx(25, rel=0.02)
        assert info.duration_s == pytest.approx(20 / 25, abs=0.05)

    def test_of_a_stream_without_an_index_says_what_is_not_known(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.h264", [*range(6)], Fraction(1, 25))
        assert probe_video(path).frames is None


class TestNotAVideo:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("empty.mp4", b""),
            ("noise.mp4", np.random.default_rng(1).bytes(100_000)),
            ("text.txt", b"a film of its letters is what libav would make of this\n" * 50),
            ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
            ("list.ffconcat", b"ffconcat version 1.0\nfile http://127.0.0.1:9/x.mp4\n"),
        ],
    )
    def test_is_one_line(self, tmp_path: Path, name: str, content: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SourceError, match=name) as raised:
            next(read_video(path))
        assert "\n" not in str(raised.value)
        with pytest.raises(SourceError, match=name):
            probe_video(path)

    def test_nor_is_a_missing_file_or_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="there is no video file"):
            next(read_video(tmp_path / "none.mp4"))
        with pytest.raises(SourceError, match="directory"):
            next(read_video(tmp_path))

    def test_nor_is_sound(self, tmp_path: Path) -> None:
        path = tmp_path / "sound.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.rate = 8000
            container.mux(stream.encode(frame))
        with pytest.raises(SourceError, match="has no video in it"):
            next(read_video(path))

    @pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
    def test_nor_is_a_file_without_a_frame(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"none.{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            container.start_encoding()
        with pytest.raises(SourceError, match=r"none\.\w+ (cannot be read as a video|has no (video|frame))"):
            next(read_video(path))
        with pytest.raises(SourceError, match=r"none\.\w+ "):
            probe_video(path)

    def test_nor_is_a_file_whose_frames_are_gone(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.mp4", [*range(20)], Fraction(1, 25))
        whole = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    whole[packet.pos : packet.pos + packet.size] = bytes(packet.size)
        path.write_bytes(whole)
        with pytest.raises(SourceError, match=r"cannot be read|no frame that can"):
            next(read_video(path))

    def test_nor_are_pictures_that_would_fill_the_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path / "clip.mp4", [0.0])
        monkeypatch.setattr("kinestream.video.reading.MAX_PIXELS", 3000)
        with pytest.raises(SourceError, match="may have 3000 pixels, got 64x48"):
            next(read_video(path))

    def test_a_name_is_never_a_url_or_a_pattern(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("http:clip.mp4", "-clip.mp4", "clip%03d.mp4"):
            write(tmp_path / "clip.mp4", [0.0]).rename(name)
            assert len([*read_video(name)]) == 1, name


class TestDamage:
    def test_at_the_end_costs_only_what_is_missing(self, tmp_path: Path) -> None:
        """One decoding thread: with libav's frame threads the last frames before the cut are lost as well."""
        path = write_with_b_frames(tmp_path / "clip.mp4", [*range(25)], Fraction(1, 25), qp="1")
        whole = path.read_bytes()
        with av.open(str(path)) as container:
            ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
        path.write_bytes(whole[: ends[15] + 1])  # sixteen packets are whole, of the next there is one byte
        frames, line = read_to_the_damage(path)
        assert 14 <= len(frames) <= 16  # the decoder may hold back a frame that waits for a missing one
        assert [number_of(frame.image) for frame in frames[:14]] == [*range(14)]
        assert "clip.mp4 is damaged at 0." in line
        assert f"{len(frames)} frames were read" in line

    def test_exactly_between_two_frames_is_noticed_too(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.mp4", [*range(25)], Fraction(1, 25), bf="0")
        with av.open(str(path)) as container:
            ends = [packet.pos + packet.size for packet in container.demux(video=0) if packet.size]
        path.write_bytes(path.read_bytes()[: ends[9]])
        frames, line = read_to_the_damage(path)
        assert [number_of(frame.image) for frame in frames] == [*range(10)]
        assert "at 0.360 s" in line

    def test_in_the_middle_does_not_end_the_reading(self, tmp_path: Path) -> None:
        path = write_with_b_frames(tmp_path / "clip.mp4", [*range(30)], Fraction(1, 10), g="5", bf="0")
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        broken = bytearray(path.read_bytes())
        broken[packets[12].pos : packets[12].pos + packets[12].size] = b"\xff" * packets[12].size
        path.write_bytes(broken)
        frames, line = read_to_the_damage(path)
        times = [round(10 * frame.media_time_s) for frame in frames]
        assert set(range(30)) - set(times) <= {12, 13, 14}, "frames from the next key frame on are missing"
        assert times == sorted(times)
        assert "at 1.200 s" in line

    @needs_ffprobe
    def test_of_a_real_vp9_clip_is_not_hidden(self, tmp_path: Path) -> None:
        broken = bytearray(clip("walker.mp4").read_bytes())
        half = len(broken) // 2
        broken[half : half + 20_000] = bytes(20_000)
        path = tmp_path / "clip.mp4"
        path.write_bytes(broken)
        frames, line = read_to_the_damage(path)
        assert [f"{frame.media_time_s:.6f}" for frame in frames] == ffprobe_times(path)
        assert 0 < len(frames) < 230
        assert "damaged at 4." in line
