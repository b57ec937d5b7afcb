"""A file of records, one a line, looked up by position in a video: which poses belong to the frame at 12.3 s.

The file may be long and in any order, so only its lines' places are kept in memory. Not for: reading videos,
nor drawing (see `render.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from kinestream.errors import MessageError, UsageError
from kinestream.messages import PoseResult
from kinestream_consumers.jsonlines import from_line


class _Place(NamedTuple):
    """Where a record is: of which frame it tells, and at which byte of the file."""

    media_time_s: float
    seq: int
    last: int
    offset: int


class PoseFile:
    """The records of one run in a file of JSON lines: of `camera`, up to `last_time_s`; a context manager.

    `camera` chooses among several; of several runs of a camera the newest counts. Raises `UsageError` with
    the first line that is no record, if there is no record of a frame with a position in a video, or if there
    are several cameras and none was chosen.
    """

    def __init__(self, path: Path, *, camera: str | None = None) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        try:
            runs = self._runs()
            cameras = sorted({name for name, _ in runs})
            if camera is None and len(cameras) > 1:
                raise UsageError(f"{path} holds {' and '.join(cameras)}: choose one with --camera")
            numbers = [run for name, run in runs if camera in (None, name)]
            if not numbers:
                whose = f" of {camera}" if camera else ""
                raise UsageError(f"{path} has no record{whose} of a frame of a video file")
            self.camera = camera or cameras[0]
            self._places = sorted(runs[self.camera, max(numbers)])
            self.last_time_s = self._places[-1].media_time_s
        except BaseException:
            self._file.close()
            raise

    def _runs(self) -> dict[tuple[str, int], list[_Place]]:
        """Read every line once, so that none turns out to be broken after an hour of drawing."""
        runs: dict[tuple[str, int], list[_Place]] = {}
        offset = 0
        try:
            for number, line in enumerate(self._file, 1):
                if not line.isspace():
                    try:
                        result = from_line(line)
                    except MessageError as error:
                        raise UsageError(f"{self._path} line {number} is no record: {error}") from error
                    if result.media_time_s is not None:
                        place = _Place(result.media_time_s, result.seq, result.last, offset)
                        runs.setdefault((result.camera, result.run), []).append(place)
                offset += len(line)
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror}") from error
        return runs

    def at(self, media_time_s: float) -> PoseResult | None:
        """The record of the frame at exactly this time, or None."""
        index = self._up_to(media_time_s)
        if index < 0 or self._places[index].media_time_s != media_time_s:
            return None
        return self._read(index)

    def before(self, media_time_s: float) -> PoseResult | None:
        """The record of the last frame before this time, if the next record is of the very next frame.

        Then the frame at this time was left out on purpose, as every second one may be. If records between
        the two are missing, or there is none after this time, it is unknown where people were: None.
        """
        index = self._up_to(media_time_s)
        if index < 0 or index + 1 == len(self._places):
            return None
        if self._places[index + 1].seq != self._places[index].last + 1:
            return None
        return self._read(index)

    def _up_to(self, media_time_s: float) -> int:
        """Index of the last record that is not after this time; -1 if there is none."""
        return bisect_right(self._places, media_time_s, key=lambda place: place.media_time_s) - 1

    def _read(self, index: int) -> PoseResult:
        self._file.seek(self._places[index].offset)
        return from_line(self._file.readline())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
