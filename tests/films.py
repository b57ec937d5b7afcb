"""Films that tests make, when their frames are shown, and whether records tell the same of every frame.

Films are made and looked into with nothing but PyAV and ffprobe, since `kinestream.video` is what is tested.
Not for: the test card itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from kinestream.messages import PoseResult
from kinestream.testcard import TestCard
from pipeline import TIMEOUT_S, seqs


def write_film(path: Path, card: TestCard, times_s: Sequence[float], *, first_s: float = 0.0) -> Path:
    """Film `card` at `times_s`; in the file, time begins at `first_s`."""
    tick = Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = card.width, card.height, "yuv420p"
        stream.codec_context.time_base = tick
        stream.codec_context.options = {"preset": "ultrafast", "crf": "8"}
        for time_s in times_s:
            frame = av.VideoFrame.from_ndarray(card.draw(time_s), format="bgr24")
            frame.pts, frame.time_base = round((first_s + time_s) / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def longer(film: Path, times: int) -> Path:
    """The same film, so many times after itself; its pictures are not coded anew."""
    path = film.with_name("longer.mp4")
    with av.open(str(path), "w") as container:
        for number in range(times):
            with av.open(str(film)) as once:
                stream = once.streams.video[0]
                if number == 0:
                    copy = container.add_stream_from_template(stream)
                packets = [packet for packet in once.demux(stream) if packet.size]
                shown = [packet.pts or 0 for packet in packets]
                length = (
                    2 * shown[-1] - shown[-2] - shown[0]
                )  # the last one is shown as long as the one before
                for packet in packets:
                    packet.pts = (packet.pts or 0) + number * length
                    packet.dts = (packet.dts or 0) + number * length
                    packet.stream = copy
                    container.mux(packet)
    return path


def frame_times(path: Path) -> list[float]:
    """When each frame is shown, in seconds, as PyAV's demuxer tells it."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)


def told_times(path: Path) -> list[float]:
    """The same as ffprobe tells it, where there is one."""
    if shutil.which("ffprobe") is None:
        return frame_times(path)
    words = ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp_time"]
    asked = ["ffprobe", *words, "-of", "json", str(path)]
    told = subprocess.run(asked, capture_output=True, check=True, timeout=TIMEOUT_S).stdout
    return [float(frame["best_effort_timestamp_time"]) for frame in json.loads(told)["frames"]]


def check_whole(records: list[PoseResult], path: Path, *, every: int = 1) -> None:
    """Every frame has exactly one record, in order, and the time of its picture."""
    assert {record.status for record in records} == {"ok"}
    assert seqs(records) == list(range(len(records)))
    assert len({(record.camera, record.run) for record in records}) == 1
    # ffprobe prints six decimals.
    assert [record.media_time_s for record in records] == pytest.approx(told_times(path)[::every], abs=1e-6)
