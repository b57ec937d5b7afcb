"""Draws the poses of a video file onto its frames, paired by the frame's position in the file.

A frame that was not analysed (every second one, say) shows the poses of the last that was. Not for: cameras,
whose pictures are gone once they are analysed (see `record.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from kinestream.errors import MessageError, UsageError
from kinestream.messages import PoseResult
from kinestream.video import VideoWriter, read_video
from kinestream_consumers.drawing import draw_people, write_line


def render(video: Path, poses: Path, output: Path, *, progress: Callable[[], None] = lambda: None) -> int:
    """Write `output` (H.264): each frame of `video` with the people that `poses` (JSON lines) has for it.

    Returns the number of frames for which there was a record; `progress` is called once a frame.
    Raises `UsageError` if there is no such file, or a line of `poses` is no record.
    """
    results = {
        result.media_time_s: result for result in read_results(poses) if result.media_time_s is not None
    }
    paired = 0
    latest: PoseResult | None = None
    writer: VideoWriter | None = None
    try:
        for frame in read_video(video):
            if writer is None:
                height, width = frame.image.shape[:2]
                writer = VideoWriter(output, width, height)
            found = results.get(frame.media_time_s)
            if found is not None:
                paired += 1
                latest = found
            if latest is not None:
                draw_people(frame.image, latest.people, latest.skeleton)
                note = f"  {latest.status}: {latest.cause}" if latest.status != "ok" else ""
                write_line(frame.image, f"{latest.camera}  {latest.seq}  {latest.media_time_s:.3f} s{note}")
            writer.write(frame.image, frame.media_time_s)
            progress()
    finally:
        if writer is not None:
            writer.close()
    return paired


def read_results(path: Path) -> Iterator[PoseResult]:
    """Read a file of JSON lines, one PoseResult a line; raises `UsageError` naming the first bad line."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield PoseResult.from_dict(json.loads(line))
                except (json.JSONDecodeError, MessageError) as error:
                    raise UsageError(f"{path} line {number} is no record: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
