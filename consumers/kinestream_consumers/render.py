"""Draws the poses of a video file onto its frames, paired by the frame's exact position in the file.

A frame that was left out on purpose (every second one, say) shows the poses of the frame before it, and says
so. A frame that was meant to be analysed and has no poses shows none, and says why. Not for: cameras, whose
pictures are gone once they are analysed (see `record.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kinestream.drawing import Image, draw_people, write_line
from kinestream.errors import SourceError, UsageError
from kinestream.messages import PoseResult
from kinestream.video import VideoFrame, VideoWriter, probe_video, read_video
from kinestream_consumers.poses import PoseFile


def render(
    video: Path,
    poses: Path,
    output: Path,
    *,
    camera: str | None = None,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Write `output` (H.264): each frame of `video` with the people that `poses` (JSON lines) has for it.

    `camera` says whose poses, if there are several cameras'. Returns the number of frames that have a record
    of their own; `progress` is called once a frame. Raises `UsageError` if a file cannot be read or written,
    or if no record is of a frame of this video. After a damaged video `output` has all frames that could be
    read, and `SourceError` says what was wrong.
    """
    for source, what in ((video, "the video itself"), (poses, "the file of poses")):
        if output.exists() and source.exists() and output.samefile(source):
            raise UsageError(f"{output} is {what}: choose another name to write to")
    if output.suffix.lower() not in (".mp4", ".m4v"):
        raise UsageError(f"the output is an MP4, so name it .mp4, got {str(output)!r}")
    with PoseFile(poses, camera=camera) as known:
        pairing = _Pairing(known)
        frames = read_video(video)
        first = next(frames)
        damage: SourceError | None = None
        height, width = first.image.shape[:2]
        aspect = probe_video(video).pixel_aspect
        with VideoWriter(output, width, height, pixel_aspect=aspect) as writer:
            try:
                for frame in _from(first, frames):
                    result, is_own = pairing.of(frame.media_time_s)
                    _check_same_film(frame.image, result, poses, video)
                    _annotate(frame.image, known.camera, frame.media_time_s, result, is_own)
                    writer.write(frame.image, frame.media_time_s)
                    progress()
            except SourceError as error:
                damage = error
            if not pairing.paired:
                raise UsageError(f"no record in {poses} has the time of a frame of {video}")
    if damage:
        raise damage
    return pairing.paired


def _check_same_film(image: Image, result: PoseResult | None, poses: Path, video: Path) -> None:
    """Raise `UsageError` if a record is of pictures of another size: its poses would lie anywhere."""
    height, width = image.shape[:2]
    if result and result.width and result.height and (result.width, result.height) != (width, height):
        raise UsageError(
            f"{poses} is of pictures of {result.width}x{result.height}, {video} has {width}x{height}: "
            "they do not belong together"
        )


def _from(first: VideoFrame, others: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from others


class _Pairing:
    """Finds the record for one frame after the other; `paired` counts those with a record of their own."""

    def __init__(self, poses: PoseFile) -> None:
        self.paired = 0
        self._poses = poses
        self._without = 0  # frames since the last with a record
        self._left_out = 0  # the longest row of frames that were left out on purpose

    def of(self, media_time_s: float) -> tuple[PoseResult | None, bool]:
        """The record for this frame, if there is one, and whether it is the frame's own."""
        result = self._poses.at(media_time_s)
        if result:
            self.paired += 1
            self._without = 0
            return result, True
        self._without += 1
        result = self._poses.before(media_time_s)
        if result:
            self._left_out = max(self._left_out, self._without)
        elif self._without <= self._left_out and media_time_s > self._poses.last_time_s:
            result = self._poses.at(self._poses.last_time_s)  # as many as before may be left out at the end
        return result, False


def _annotate(
    image: Image, camera: str, media_time_s: float, result: PoseResult | None, is_own: bool
) -> None:
    if result is None:
        write_line(image, f"{camera}  {media_time_s:.3f} s  no record")
        return
    draw_people(image, result.people, result.skeleton)
    notes = [] if result.status == "ok" else [f"{result.status}: {result.cause}"]
    notes += [] if is_own else [f"poses of {result.media_time_s:.3f} s"]
    write_line(image, "  ".join([camera, str(result.seq), f"{media_time_s:.3f} s", *notes]))
